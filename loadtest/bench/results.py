"""What a run measured, as it stands in its JSON file: every round of every point."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

# By length: not at all, among 64 that wait together, or all of the texts.
Order = Literal["as they come", "sorted by 64", "sorted"]
LoadModel = Literal["closed", "open"]


class UnreadableResults(Exception):
    """A file is not the result of a run; says where and why."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitPoint(_Record):
    """The bare work, tokenizer and ONNX Runtime in a loop, with one setting in one round."""

    round: int
    artifact: str
    batch: int
    order: Order
    # Sessions that run side by side, and the threads of each.
    sessions: int
    threads: int
    texts_per_s: float
    cpu_ms_per_text: float

    @property
    def setting(self) -> str:
        """E.g. "int8, batch 32 sorted, 2 x 1 threads"."""
        order = f" {self.order}" if self.batch > 1 else ""
        return (
            f"{self.artifact}, batch {self.batch}{order}, {self.sessions} x {self.threads} threads"
        )


class Point(_Record):
    """One load on one variant in one round."""

    # E.g. "stack inline", and the method or the way of asking, e.g. "Understand".
    variant: str
    method: str
    load: LoadModel
    # Requests in flight; the most that were, for an open load.
    in_flight: int
    # Arrivals a second of an open load; 0 for a closed one.
    rate: float = 0.0
    round: int
    requests: int
    # Texts in one request.
    texts: int = 1
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    # Failed calls by status code, and refusals (RESOURCE_EXHAUSTED) beside them.
    errors: dict[str, int]
    refused: int
    # How soon refusals came; 0 without any.
    refused_p50_ms: float = 0.0
    refused_p99_ms: float = 0.0
    # Replies that parsed but said that a step was left out, or were not what they had to be.
    degraded: int
    wrong: int
    checked: int
    # The bare work measured right before and after, texts a second.
    limit_before: float
    limit_after: float
    # CPU milliseconds a request by kind of process.
    cpu_ms: dict[str, float]
    # Mean rows of one request to Triton and of one execution there, by model.
    request_rows: dict[str, float]
    batch_sizes: dict[str, float]

    @property
    def texts_per_s(self) -> float:
        """Texts answered a second."""
        return self.requests * self.texts / self.seconds

    @property
    def limit(self) -> float:
        """The bare work beside this point, texts a second."""
        return (self.limit_before + self.limit_after) / 2.0

    @property
    def share(self) -> float:
        """Texts answered a second as a share of the bare work."""
        return self.texts_per_s / self.limit

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Names the point across rounds and runs."""
        level = 0 if self.load == "open" else self.in_flight
        return (self.variant, self.method, self.load, level)


class IdlePoint(_Record):
    """What a running stack takes with nobody calling, in cores by kind of process."""

    variant: str
    round: int
    cores: dict[str, float]


class Results(_Record):
    """A whole run."""

    schema_version: Literal[1] = 1
    started_at: str
    took_s: float
    # Machine, versions, commit, artifacts, texts, options: whatever a reader needs to judge it.
    about: dict[str, Any]
    # The setting of the bare work that everything is compared with.
    limit_setting: str
    limits: tuple[LimitPoint, ...]
    points: tuple[Point, ...]
    idle: tuple[IdlePoint, ...]

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Reads the JSON file of a run.

        Raises:
            UnreadableResults: it cannot be read, or is something else; names the field.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UnreadableResults(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "(file)"
            raise UnreadableResults(f"{path}: {where}: {first['msg']}") from error

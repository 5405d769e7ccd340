"""`serving_profile.json` of a model: how it is best hosted here, and the measurement that says so.

    ModelSpec ────────────────────────────────────────┐
    model_repository/<model>/serving_profile.json ────┴─▶ triton_config ─▶ config.pbtxt

Written by `cartwright models tune`. Without the file a model is hosted as its spec says; it is no
part of the model, so that a new one trains nothing anew.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from model_build.spec import ModelSpec, Target
from serving.errors import StartupError

FILE_NAME = "serving_profile.json"

NotNegative = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TunedHosting(_Strict):
    """What may be tuned about the hosting of a model; one point of a sweep."""

    instances: Annotated[int, Field(ge=1, le=256)]
    """Copies of the model that one host runs."""
    intra_op_threads: Annotated[int, Field(ge=1, le=256)]
    """Threads of one copy within an operator."""
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=1_000_000)]
    """How long a request may wait for others to join its batch."""
    max_batch_rows: Annotated[int, Field(ge=1)]
    """Rows at which Triton stops to join requests and runs them. Requests that waited for longer
    than the delay may make a batch larger, and one request may bring more, both up to the
    `max_batch_size` that clients were promised."""

    @property
    def label(self) -> str:
        """Short and unique, e.g. `2x1-b8-d500`; fit for a file name."""
        return (
            f"{self.instances}x{self.intra_op_threads}"
            f"-b{self.max_batch_rows}-d{self.max_queue_delay_microseconds}"
        )


class TunedLoad(_Strict):
    """The load under which the hosting was chosen."""

    concurrency: Annotated[int, Field(ge=1)]
    """Requests in flight, each replaced when it is answered."""
    rows_per_request: Annotated[int, Field(ge=1)]
    p99_limit_ms: Annotated[float, Field(gt=0)]


class TunedFigures(_Strict):
    """What was measured, as medians over looks; requests are those of the load."""

    requests_per_s: NotNegative
    p50_ms: NotNegative
    p99_ms: NotNegative
    cpu_ms_per_request: NotNegative
    """CPU time of tritonserver and of the model's instances."""
    mean_batch_rows: NotNegative
    """Rows of a batch as it was really run."""
    instance_memory_mib: NotNegative
    """Proportional set size of all instances together."""
    looks: Annotated[int, Field(ge=1)]
    noise_band: NotNegative
    """Points whose throughput differs by no more than this share of it count as equal."""


class Machine(_Strict):
    """Where it was measured."""

    processor: str
    cores: Annotated[int, Field(ge=1)]
    memory_gib: NotNegative
    system: str


class ServingProfile(_Strict):
    """The whole file."""

    schema_version: Literal[1] = 1
    model: str
    target: Target
    """Kind of machine that it holds for; on the other kind the spec's hosting stays."""
    hosting: TunedHosting
    load: TunedLoad
    figures: TunedFigures
    machine: Machine
    versions: dict[str, str]
    """Of what was measured: model version, served artifact, tritonserver and others, by name."""
    tuned_at: AwareDatetime
    command: str
    """The command line that wrote the file."""

    def write(self, repository: Path) -> Path:
        """Writes the file of its model, whole or not at all; returns its path.

        Raises:
            StartupError: it cannot be written; names the path.
        """
        path = repository / self.model / FILE_NAME
        draft = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        try:
            draft.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StartupError(f"{path}: cannot be written: {error.strerror}") from error
        return path


def read_profile(repository: Path, spec: ModelSpec) -> ServingProfile | None:
    """The profile of a model; None without one.

    Raises:
        StartupError: the file cannot be read, is no profile, or does not fit the spec; names the
            file, the field and the reason.
    """
    path = repository / spec.name / FILE_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        profile = ServingProfile.model_validate_json(content)
    except ValidationError as error:
        raise StartupError(f"{path}: {_describe(error.errors()[0])}") from error
    if profile.model != spec.name:
        raise StartupError(f"{path}: model: is {profile.model!r}, the folder is {spec.name!r}")
    rows = profile.hosting.max_batch_rows
    if rows > spec.max_batch_size:
        raise StartupError(
            f"{path}: hosting.max_batch_rows: {rows} is above the model's max_batch_size "
            f"({spec.max_batch_size})"
        )
    return profile


def tuned_hosting(repository: Path, spec: ModelSpec, target: Target) -> TunedHosting | None:
    """The tuned hosting for one kind of machine; None where the spec's own holds.

    Raises:
        StartupError: see `read_profile`.
    """
    profile = read_profile(repository, spec)
    return profile.hosting if profile is not None and profile.target == target else None


def spec_hosting(spec: ModelSpec, target: Target) -> TunedHosting:
    """What the spec itself says about the tunable part."""
    hosting = spec.hosting[target]
    return TunedHosting(
        instances=hosting.instances.count,
        intra_op_threads=hosting.instances.intra_op_threads,
        max_queue_delay_microseconds=hosting.batching.max_queue_delay_microseconds,
        max_batch_rows=spec.max_batch_size,
    )


def _describe(error: Any) -> str:
    """`field: reason (got value)`."""
    field = ".".join(str(part) for part in error["loc"]) or "(file)"
    if error["type"] in ("extra_forbidden", "missing", "json_invalid"):
        return f"{field}: {error['msg']}"
    return f"{field}: {error['msg']} (got {error['input']!r})"

"""What a gate found about a version: passed, failed or not known; by how much, and on what."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

MOST_EXAMPLES = 20


class Gate(StrEnum):
    """What a version is measured by before it may go live."""

    # The served artifact against the one that it was made from.
    PARITY = "parity"
    # Held-out samples, against the live version.
    QUALITY = "quality"
    # The same load on one host, against the live version.
    LATENCY = "latency"
    # Recorded requests, against the live version.
    REPLAY = "replay"

    @property
    def compares(self) -> bool:
        """Whether a verdict holds against one other version only."""
        return self is not Gate.PARITY


class Outcome(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    FAILED = "failed"
    # Too few samples or too much noise to say either.
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number that was measured."""

    name: str
    # None: no finite number came out.
    value: float | None
    # E.g. "ms"; empty for shares and ratios.
    unit: str = ""
    # Bounds that it was held to.
    at_least: float | None = None
    at_most: float | None = None
    # Confidence interval.
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuses what JSON has no word for.

        Raises:
            ValueError: a number is not finite; names the figure.
        """
        for number in (self.value, self.at_least, self.at_most, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name}: {number} is not a finite number")

    @property
    def text(self) -> str:
        """In a line, e.g. "p99_ratio 1.32 (1.25 to 1.4), at most 1.1"."""
        parts = [f"{self.name} {written(self.value)}{self.unit and ' '}{self.unit}"]
        if self.interval:
            parts.append(f" ({self.interval})")
        if self.bound:
            parts.append(f", {self.bound}")
        return "".join(parts)

    @property
    def interval(self) -> str:
        """The confidence interval; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"{written(self.low)} to {written(self.high)}"

    @property
    def bound(self) -> str:
        """What it was held to; empty if to nothing."""
        words = []
        if self.at_least is not None:
            words.append(f"at least {written(self.at_least)}")
        if self.at_most is not None:
            words.append(f"at most {written(self.at_most)}")
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one gate found about one version."""

    gate: Gate
    model: str
    version: int
    # The version that it was compared with: the live one, unless another was asked for. None if
    # the gate compares with none.
    against: int | None
    outcome: Outcome
    # One or two sentences that say by how much.
    reason: str
    figures: tuple[Figure, ...] = ()
    # Samples that speak against the version, the worst first; at most `MOST_EXAMPLES`.
    examples: tuple[str, ...] = ()
    # Unix time in milliseconds.
    at_ms: int
    # Machine and versions of tools by name.
    environment: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuses more examples than anybody reads.

        Raises:
            ValueError: there are too many.
        """
        if len(self.examples) > MOST_EXAMPLES:
            raise ValueError(f"{len(self.examples)} examples, at most {MOST_EXAMPLES}")

    def to_document(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document

    def to_json(self) -> str:
        """As one line of JSON."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is something else; names the field.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Verdict)


def written(number: float | None) -> str:
    """A number with four significant digits."""
    return "not finite" if number is None else f"{number:.4g}"

"""Limits of a run, read from a YAML file and held against its figures.

A method that was not called is listed as not measured; limits of an overload say nothing of a run
without one. A run with fewer calls than `calls_at_least` fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import grpc
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loadtest import outcomes
from loadtest.calls import METHODS
from loadtest.histogram import Histogram
from loadtest.measures import Percentiles
from loadtest.saturation import Overload
from loadtest.summary import Summary

Milliseconds = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

# A key beside gRPC's codes: every call that was not answered.
ANY_ERROR = "any"
NOTHING = Percentiles.of(Histogram())


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LatencyLimits(_Section):
    """Latency of what was admitted, from the scheduled time, in milliseconds."""

    p50_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None


class OverloadLimits(_Section):
    """What holds while more is offered than the stack can carry."""

    goodput_share_at_least: Share | None = None
    admitted_p99_ms: Milliseconds | None = None
    refused_p50_ms: Milliseconds | None = None
    refused_p99_ms: Milliseconds | None = None
    retry_after_share_at_least: Share | None = None
    # Calls that failed with anything but a refusal.
    other_errors_share: Share | None = None


class GeneratorLimits(_Section):
    """What the generator itself has to keep to, where a warning is not enough."""

    cpu_share: Annotated[float, Field(gt=0)] | None = None
    lateness_p99_ms: Milliseconds | None = None
    saturated_share: Share | None = None


class Thresholds(_Section):
    """All limits; each is optional."""

    calls_at_least: Annotated[int, Field(ge=1)] = 1
    latency: dict[str, LatencyLimits] = {}
    # Share of the calls by status code, or "any".
    errors: dict[str, Share] = {}
    degraded_share: Share | None = None
    goodput_per_s_at_least: Annotated[float, Field(ge=0)] | None = None
    # Time to the first event of ConverseStream.
    first_event: LatencyLimits = LatencyLimits()
    # From the fall of the load until all is normal again.
    recovery_s: Seconds | None = None
    # The level of a `steps` shape's knee: users, or calls a second.
    knee_at_least: Annotated[float, Field(gt=0)] | None = None
    overload: OverloadLimits = OverloadLimits()
    generator: GeneratorLimits = GeneratorLimits()

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for method in self.latency:
            if method not in METHODS:
                raise ValueError(f"latency.{method}: there is no such method")
        codes = {code.name for code in grpc.StatusCode} - {outcomes.OK}
        for code in self.errors:
            if code not in codes | {ANY_ERROR, outcomes.INCOMPLETE}:
                raise ValueError(f"errors.{code}: there is no such status code")
        return self


class ThresholdsUnusable(ValueError):
    """The file of thresholds cannot be used; names the file and the field."""


def load_thresholds(path: Path) -> Thresholds:
    """Reads a file of thresholds.

    Raises:
        ThresholdsUnusable: it cannot be read, or a field is unknown or out of bounds.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ThresholdsUnusable(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ThresholdsUnusable(f"{path}: must be a mapping of thresholds")
    try:
        return Thresholds(**values)
    except (ValidationError, TypeError) as error:
        raise ThresholdsUnusable(f"{path}: {_describe(error)}") from error


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One threshold held against one run."""

    name: str
    limit: float
    # None: the run did not measure it.
    value: float | None
    at_least: bool
    # What there is to say where `value` is None and the threshold is missed all the same.
    missing: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit; what was not measured passes."""
        if self.value is None:
            return not self.missing
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """For reading, e.g. "FAIL latency.Converse.p99_ms: 812, at most 400"."""
        word = "least" if self.at_least else "most"
        if self.value is None:
            state = "FAIL" if self.missing else "skip"
            return (
                f"{state} {self.name}: {self.missing or 'not measured'}, at {word} {self.limit:g}"
            )
        state = "pass" if self.passed else "FAIL"
        return f"{state} {self.name}: {self.value:.4g}, at {word} {self.limit:g}"


def judge(thresholds: Thresholds, summary: Summary) -> list[Verdict]:
    """Holds every threshold that is set against a run."""
    return [verdict for verdict in _verdicts(thresholds, summary) if verdict is not None]


def _verdicts(thresholds: Thresholds, summary: Summary) -> Iterator[Verdict | None]:
    total, whole = summary.total, summary.whole_run
    yield _at_least("calls_at_least", thresholds.calls_at_least, float(whole.sent))
    for method, limits in thresholds.latency.items():
        measured = summary.by_method.get(method)
        latency = NOTHING if measured is None else measured.admitted
        yield from _latency_verdicts(f"latency.{method}", limits, latency)
    for code, limit in thresholds.errors.items():
        share = total.failed_share if code == ANY_ERROR else total.share(code)
        yield _at_most(f"errors.{code}", limit, share if total.sent else None)
    degraded = total.share(outcomes.DEGRADED) if total.sent else None
    yield _at_most("degraded_share", thresholds.degraded_share, degraded)
    goodput = total.goodput_per_s
    yield _at_least("goodput_per_s_at_least", thresholds.goodput_per_s_at_least, goodput)
    yield from _latency_verdicts("first_event", thresholds.first_event, total.first_event)
    if thresholds.knee_at_least is not None and summary.knee is not None:
        yield Verdict(
            name="knee_at_least",
            limit=thresholds.knee_at_least,
            value=summary.knee.level,
            at_least=True,
            missing="even the first step is beyond the knee",
        )
    if summary.overload is not None:
        yield from _overload_verdicts(thresholds, summary.overload)
    limits_of_generator = thresholds.generator
    cpu = max(summary.generator_cpu.values(), default=None)
    yield _at_most("generator.cpu_share", limits_of_generator.cpu_share, cpu)
    lateness_ms = whole.lateness.p99_ms
    yield _at_most("generator.lateness_p99_ms", limits_of_generator.lateness_p99_ms, lateness_ms)
    saturated = whole.saturated_share
    yield _at_most("generator.saturated_share", limits_of_generator.saturated_share, saturated)


def _overload_verdicts(thresholds: Thresholds, found: Overload) -> Iterator[Verdict | None]:
    limits, during = thresholds.overload, found.during
    share_at_least = limits.goodput_share_at_least
    yield _at_least("overload.goodput_share_at_least", share_at_least, found.goodput_share)
    yield _at_most("overload.admitted_p99_ms", limits.admitted_p99_ms, during.admitted.p99_ms)
    yield _at_most("overload.refused_p50_ms", limits.refused_p50_ms, during.refused.p50_ms)
    yield _at_most("overload.refused_p99_ms", limits.refused_p99_ms, during.refused.p99_ms)
    retry_at_least = limits.retry_after_share_at_least
    retry_share = during.retry_after_share
    yield _at_least("overload.retry_after_share_at_least", retry_at_least, retry_share)
    others = during.failed_share - during.share(outcomes.REFUSED)
    yield _at_most("overload.other_errors_share", limits.other_errors_share, others)
    if thresholds.recovery_s is not None:
        yield Verdict(
            name="recovery_s",
            limit=thresholds.recovery_s,
            value=found.recovery_s,
            at_least=False,
            missing="not back to normal before the run ended",
        )


def _latency_verdicts(
    name: str, limits: LatencyLimits, latency: Percentiles
) -> Iterator[Verdict | None]:
    yield _at_most(f"{name}.p50_ms", limits.p50_ms, latency.p50_ms)
    yield _at_most(f"{name}.p99_ms", limits.p99_ms, latency.p99_ms)


def _at_most(name: str, limit: float | None, value: float | None) -> Verdict | None:
    if limit is None:
        return None
    return Verdict(name=name, limit=limit, value=value, at_least=False)


def _at_least(name: str, limit: float | None, value: float | None) -> Verdict | None:
    if limit is None:
        return None
    return Verdict(name=name, limit=limit, value=value, at_least=True)


def _describe(error: Exception) -> str:
    """`section.field: reason (got value)` of everything that is wrong."""
    if not isinstance(error, ValidationError):
        return f"the names of thresholds must be words: {error}"
    return "; ".join(_describe_one(details) for details in error.errors())


def _describe_one(details: Any) -> str:
    field = ".".join(str(part) for part in details["loc"])
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        return f"{field}: there is no such threshold"
    if not field:
        return message
    return f"{field}: {message} (got {details['input']!r})"

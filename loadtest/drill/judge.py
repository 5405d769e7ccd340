"""What a drill has shown: pure functions over its answers and its switches."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from loadtest.bench.load import Answer

# A switch touches the second around it: replicas follow within a quarter of one.
SWITCH_S = 0.5
REFUSED = "RESOURCE_EXHAUSTED"
# Seconds from ... until, Unix time.
Span = tuple[float, float]


class Time(StrEnum):
    """When an answer was asked for."""

    SETTLING = "not compared"
    QUIET = "quiet"
    # While versions are loaded, held and unloaded.
    BETWEEN = "between switches"
    SWITCHING = "switch seconds"


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One step that moved the traffic."""

    # Unix time at which the step was confirmed.
    at_s: float
    action: str
    # Live from then on.
    version: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """A promotion and a rollback under load."""

    # Arrivals.
    rate_per_s: float
    # Whether these were the share of the peak that was asked for, by the peak after the round too.
    steady: bool
    # No version is loaded, switched or unloaded, as long in all as the time between, and on both
    # sides of it: the machine's speed moves. What is before is no version's doing either, but the
    # peak's that was measured.
    quiet: tuple[Span, Span]
    switches: tuple[Switch, ...]
    # From asking for the promotion until it was live, loading included.
    promotion_s: float
    rollback_s: float
    answers: tuple[Answer, ...]
    # Unix times at which what was refused as too much was asked.
    refused_at_s: tuple[float, ...]
    # What else failed, by gRPC status.
    errors: dict[str, int]

    def _refused(self, time: Time) -> int:
        return sum(self._time(at_s) is time for at_s in self.refused_at_s)

    def parts(self) -> dict[Time, list[Answer]]:
        """The answers by when they were asked for."""
        parts: dict[Time, list[Answer]] = {time: [] for time in Time}
        for answer in self.answers:
            parts[self._time(answer.at_s)].append(answer)
        return parts

    def _time(self, at_s: float) -> Time:
        if any(abs(at_s - switch.at_s) <= SWITCH_S for switch in self.switches):
            return Time.SWITCHING
        before, after = self.quiet
        if not before[0] <= at_s < after[1]:
            return Time.SETTLING
        return Time.BETWEEN if before[1] <= at_s < after[0] else Time.QUIET

    @property
    def p99_ratio(self) -> float:
        """p99 outside of the switch seconds against the quiet time."""
        return _p99_ratio({time: part_of(found) for time, found in self.parts().items()})

    @property
    def quiet_p99_ratio(self) -> float:
        """p99 of the quiet time after against that before: what the machine alone moves."""
        before, after = (
            part_of([one for one in self.answers if start <= one.at_s < end])
            for start, end in self.quiet
        )
        return after.p99_ms / before.p99_ms

    @property
    def text(self) -> str:
        """In a line."""
        quiet, between = (part_of(self.parts()[t]) for t in (Time.QUIET, Time.BETWEEN))
        return (
            f"{self.rate_per_s:.0f}/s, live after {self.promotion_s:.1f} s, "
            f"back after {self.rollback_s * 1000.0:.0f} ms, "
            f"p99 quiet {quiet.p99_ms:.0f}, between switches {between.p99_ms:.0f} ms"
            + "".join(f", {count} {status}" for status, count in self.errors.items())
            + "".join(
                f", {self._refused(time)} refused ({time})" for time in Time if self._refused(time)
            )
            + (
                ""
                if self.steady
                else "; does not count for p99, the machine became too slow for the load"
            )
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """Answers of one kind of time."""

    answers: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The whole drill."""

    # Of all rounds.
    requests: int
    # By gRPC status, refusals too.
    errors: dict[str, int]
    # How many of them were refused in rounds that turned out not to be steady.
    refused_unsteady: int
    degraded: int
    # Turns in which a model answered by two versions.
    mixed: int
    # Answers by a version that was not live any more, later than `SWITCH_S` after the switch.
    late: int
    # Of the steady rounds.
    parts: dict[Time, Part]
    # `p99_ratio` of each of them. One has some hundred answers of each kind, so that a moment of
    # the machine moves it far; but no such moment moves the median of all.
    p99_ratios: tuple[float, ...]
    # `quiet_p99_ratio` of each of them.
    quiet_p99_ratios: tuple[float, ...]

    @property
    def p99_ratio(self) -> float:
        """p99 outside of the switch seconds against the quiet times of the same rounds."""
        return _p99_ratio(self.parts)

    @property
    def median_p99_ratio(self) -> float:
        """The median of `p99_ratios`; not a number without any."""
        return float(np.median(self.p99_ratios or [float("nan")]))


def judge(rounds: Sequence[Round], model: str) -> Verdict:
    """Judges a drill.

    Args:
        rounds: in the order of time.
        model: whose versions were switched.
    """
    answers = [answer for one in rounds for answer in one.answers]
    switches = [switch for one in rounds for switch in one.switches]
    errors: Counter[str] = Counter()
    refused_unsteady = 0
    by_time: dict[Time, list[Answer]] = {time: [] for time in Time}
    for one in rounds:
        errors += Counter({**one.errors, REFUSED: len(one.refused_at_s)})
        if one.steady:
            for time, found in one.parts().items():
                by_time[time] += found
        else:
            refused_unsteady += len(one.refused_at_s)
    return Verdict(
        requests=len(answers) + errors.total(),
        errors=dict(errors),
        refused_unsteady=refused_unsteady,
        degraded=sum(answer.degraded for answer in answers),
        mixed=sum(_is_mixed(answer) for answer in answers),
        late=sum(_is_late(answer, switches, model) for answer in answers),
        parts={time: part_of(found) for time, found in by_time.items()},
        p99_ratios=tuple(one.p99_ratio for one in rounds if one.steady),
        quiet_p99_ratios=tuple(one.quiet_p99_ratio for one in rounds if one.steady),
    )


def part_of(answers: Sequence[Answer]) -> Part:
    """Their quantiles; not a number without any."""
    latencies = [answer.latency_ms for answer in answers] or [float("nan")]
    p50_ms, p99_ms = np.percentile(latencies, (50, 99)).tolist()
    return Part(answers=len(answers), p50_ms=p50_ms, p99_ms=p99_ms)


def _p99_ratio(parts: dict[Time, Part]) -> float:
    return parts[Time.BETWEEN].p99_ms / parts[Time.QUIET].p99_ms


def _is_mixed(answer: Answer) -> bool:
    models = [model for model, _, _ in answer.versions]
    return len(models) != len(set(models))


def _is_late(answer: Answer, switches: Sequence[Switch], model: str) -> bool:
    """Whether it was asked after a switch had settled, and answered by another version."""
    settled = [s for s in switches if s.at_s + SWITCH_S <= answer.at_s]
    if not settled:
        return False
    # The next switch may already be under way: its step is confirmed after it is done.
    following = [s for s in switches if s.at_s - SWITCH_S <= answer.at_s]
    allowed = {settled[-1].version, following[-1].version}
    return any(name == model and number not in allowed for name, number, _ in answer.versions)

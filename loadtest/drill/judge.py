"""What a drill has shown: pure functions over its answers and its switches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.bench.load import Answer

# A switch touches the second around it: replicas follow within a quarter of one.
SWITCH_S = 0.5
# Seconds from ... until, Unix time.
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One step that moved the traffic."""

    # Unix time at which the step was confirmed.
    at_s: float
    action: str
    # Live from then on.
    version: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """Answers of one kind of time."""

    name: str
    answers: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The whole drill."""

    switches: int
    requests: int
    errors: dict[str, int]
    degraded: int
    # Turns in which a model answered by two versions.
    mixed: int
    # Answers by a version that was not live any more, later than `SWITCH_S` after the switch.
    late: int
    # Just after each measurement of the peak, which left more to do than the cores could.
    settling: Part
    # While nothing was loaded, switched or unloaded: before each promotion.
    quiet: Part
    # Outside of the switch seconds, while versions are loaded, held and unloaded.
    between: Part
    during: Part

    @property
    def p99_ratio(self) -> float:
        """p99 outside of the switch seconds against the quiet times between the rounds."""
        return self.between.p99_ms / self.quiet.p99_ms


def judge(
    answers: Sequence[Answer],
    switches: Sequence[Switch],
    settling: Sequence[Span],
    quiet: Sequence[Span],
    errors: dict[str, int],
    model: str,
) -> Verdict:
    """Judges a drill.

    Args:
        answers: of the whole drill, under the same load.
        switches: in the order of time.
        settling: spans just after a peak, which are neither quiet nor due to any version.
        quiet: spans in which no version was loaded, switched or unloaded.
        errors: by gRPC status.
        model: whose versions were switched.
    """
    parts: dict[str, list[Answer]] = {
        name: [] for name in ("after the peak", "quiet", "between switches", "switch seconds")
    }
    for answer in answers:
        if any(abs(answer.at_s - switch.at_s) <= SWITCH_S for switch in switches):
            parts["switch seconds"].append(answer)
        elif _within(quiet, answer.at_s):
            parts["quiet"].append(answer)
        elif _within(settling, answer.at_s):
            parts["after the peak"].append(answer)
        else:
            parts["between switches"].append(answer)
    settled, calm, between, during = (_part(name, found) for name, found in parts.items())
    return Verdict(
        switches=len(switches),
        requests=len(answers) + sum(errors.values()),
        errors=dict(errors),
        degraded=sum(answer.degraded for answer in answers),
        mixed=sum(_is_mixed(answer) for answer in answers),
        late=sum(_is_late(answer, switches, model) for answer in answers),
        settling=settled,
        quiet=calm,
        between=between,
        during=during,
    )


def _within(spans: Sequence[Span], at_s: float) -> bool:
    return any(start_s <= at_s < end_s for start_s, end_s in spans)


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


def _part(name: str, answers: Sequence[Answer]) -> Part:
    latencies = [answer.latency_ms for answer in answers] or [float("nan")]
    p50_ms, p99_ms = np.percentile(latencies, (50, 99)).tolist()
    return Part(name=name, answers=len(answers), p50_ms=p50_ms, p99_ms=p99_ms)

"""What a drill has shown: pure functions over its answers and its switches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.bench.load import Answer

# A switch touches the second around it: replicas follow within a quarter of one.
SWITCH_S = 0.5


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
    quiet: Part
    # Between the switches, while versions are loaded and unloaded.
    between: Part
    during: Part

    @property
    def p99_ratio(self) -> float:
        """p99 outside of the switch seconds against the quiet time before."""
        return self.between.p99_ms / self.quiet.p99_ms


def judge(
    quiet: Sequence[Answer],
    drilled: Sequence[Answer],
    switches: Sequence[Switch],
    errors: dict[str, int],
    model: str,
) -> Verdict:
    """Judges a drill.

    Args:
        quiet: answers before the first switch, at the same rate.
        drilled: answers from the first load on.
        switches: in the order of time.
        errors: by gRPC status, of both times.
        model: whose versions were switched.
    """
    times = np.array([answer.at_s for answer in drilled])
    moments = np.array([switch.at_s for switch in switches])
    near = (
        (np.abs(times[:, None] - moments[None, :]) <= SWITCH_S).any(axis=1)
        if len(moments)
        else np.zeros(len(times), bool)
    )
    everything = [*quiet, *drilled]
    return Verdict(
        switches=len(switches),
        requests=len(everything) + sum(errors.values()),
        errors=dict(errors),
        degraded=sum(answer.degraded for answer in everything),
        mixed=sum(_is_mixed(answer) for answer in everything),
        late=sum(_is_late(answer, switches, model) for answer in drilled),
        quiet=_part("quiet", quiet),
        between=_part(
            "between switches", [a for a, close in zip(drilled, near, strict=True) if not close]
        ),
        during=_part(
            "switch seconds", [a for a, close in zip(drilled, near, strict=True) if close]
        ),
    )


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

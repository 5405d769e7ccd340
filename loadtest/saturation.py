"""Where a system saturates, what it does beyond that, and how soon it is well again."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest import outcomes
from loadtest.measures import Measure, measure
from loadtest.record import Record
from loadtest.shapes import Phase, Shape

# A step keeps up while it gives so much of what is asked, or of the best, and fails no more than
# so much.
KEEPS_UP = 0.95
MOST_FAILED = 0.01
# What a phase's first moments, in which queues fill or empty, leave out of its figures.
SETTLE_S = 1.0
# Back to normal: for so long, of the calls that arrive in each slot so many are answered well and
# within so many times the p99 of before.
NORMAL_FOR_S = 2.0
NORMAL_SHARE = 0.95
NORMAL_TIMES = 2.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One height of the stairs."""

    name: str
    level: float
    measured: Measure


@dataclass(frozen=True, kw_only=True)
class Knee:
    """The last height that the system keeps up with, and the best goodput of all."""

    # Users or calls a second; None if the first step is too much already.
    level: float | None
    peak_goodput_per_s: float


@dataclass(frozen=True, kw_only=True)
class Overload:
    """What happened under more load than the system can carry."""

    peak_goodput_per_s: float
    goodput_per_s: float
    during: Measure
    # Seconds from the fall of the load until everything is normal; None if that was not seen.
    recovery_s: float | None

    @property
    def goodput_share(self) -> float:
        """Goodput as a part of the peak."""
        return self.goodput_per_s / self.peak_goodput_per_s if self.peak_goodput_per_s else 0.0


def settled_span(phase: Phase) -> tuple[float, float]:
    """The phase without its first moments."""
    return min(phase.start_s + SETTLE_S, phase.start_s + phase.duration_s / 2), phase.end_s


def find_steps(record: Record, shape: Shape) -> list[Step]:
    """What was measured on each height of a `steps` shape."""
    return [
        Step(
            name=phase.name,
            level=phase.to_level,
            measured=measure(record, [settled_span(phase)]),
        )
        for phase in shape.phases
    ]


def find_knee(steps: Sequence[Step], *, open_model: bool) -> Knee:
    """The knee of the stairs.

    Open model: the last step, counted from the first, that answers what is asked. Closed model,
    where throughput follows the system: the first step that reaches nearly the best of all.
    """
    peak = max((step.measured.goodput_per_s for step in steps), default=0.0)
    level: float | None = None
    for step in steps:
        measured = step.measured
        if open_model:
            enough = measured.goodput_per_s >= KEEPS_UP * measured.offered_per_s > 0
            if not enough or measured.failed_share > MOST_FAILED:
                break
            level = step.level
        elif measured.goodput_per_s >= KEEPS_UP * peak > 0:
            level = step.level
            break
    return Knee(level=level, peak_goodput_per_s=peak)


def find_overload(record: Record, shape: Shape, known_peak_per_s: float = 0.0) -> Overload | None:
    """What the overload phase of a shape did; None if the shape has none.

    Args:
        record: the run.
        shape: its load.
        known_peak_per_s: goodput reached in an earlier run; the peak is never taken below it.
    """
    over = next((phase for phase in shape.phases if phase.kind == "overload"), None)
    if over is None:
        return None
    during = measure(record, [settled_span(over)])
    before = [phase for phase in shape.phases if phase.end_s <= over.start_s]
    reached = [measure(record, [settled_span(phase)]).goodput_per_s for phase in before]
    calm = [settled_span(phase) for phase in before if phase.kind == "normal"]
    normal_ms = measure(record, calm).admitted.p99_ms
    after = next((phase for phase in shape.phases if phase.kind == "recovery"), None)
    recovery_s = None
    if after is not None and normal_ms is not None:
        recovery_s = _recovery_s(record, after, NORMAL_TIMES * normal_ms)
    return Overload(
        peak_goodput_per_s=max([known_peak_per_s, *reached]),
        goodput_per_s=during.goodput_per_s,
        during=during,
        recovery_s=recovery_s,
    )


def _recovery_s(record: Record, after: Phase, normal_ms: float) -> float | None:
    """Seconds from the start of `after` to the first slot from which on all is normal."""
    first = round(after.start_s / record.slot_s)
    last = int(after.end_s / record.slot_s)
    wanted = max(round(NORMAL_FOR_S / record.slot_s), 1)
    in_a_row = 0
    for slot in range(first, last):
        in_a_row = in_a_row + 1 if _normal(record, slot, normal_ms) else 0
        if in_a_row == wanted:
            return (slot + 1 - wanted - first) * record.slot_s
    return None


def _normal(record: Record, slot: int, normal_ms: float) -> bool:
    total = 0
    well = 0.0
    for (at, _, outcome), cell in record.cells.items():
        if at == slot:
            total += cell.count
            if outcome == outcomes.OK:
                well += cell.count * cell.response.share_within(normal_ms)
    # Without calls nothing is known, and nothing is wrong.
    return total == 0 or well >= NORMAL_SHARE * total

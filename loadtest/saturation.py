"""Where a system saturates, what it does beyond that, and how soon it is well again."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest import outcomes
from loadtest.measures import Measure, Span, measure
from loadtest.record import Record
from loadtest.shapes import Phase, Shape

# A step keeps up while it gives so much of what is asked, or of the best, and fails no more than
# so much.
KEEPS_UP = 0.95
MOST_FAILED = 0.01
# What a phase's first moments, in which queues fill or empty, leave out of its figures.
SETTLE_S = 1.0
# Back to normal: of the calls that arrive in so many seconds, the share answered well and within so
# many times the p99 of before is at most so much below what it was before.
NORMAL_FOR_S = 2.0
NORMAL_TIMES = 2.0
NORMAL_LESS = 0.05


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
    after = next((phase for phase in shape.phases if phase.kind == "recovery"), None)
    return Overload(
        peak_goodput_per_s=max([known_peak_per_s, *reached]),
        goodput_per_s=during.goodput_per_s,
        during=during,
        recovery_s=None if after is None else _recovery_s(record, calm, after),
    )


def _recovery_s(record: Record, calm: list[Span], after: Phase) -> float | None:
    """Seconds from the start of `after` to the first slot from which on all is as it was."""
    normal_ms = measure(record, calm).admitted.p99_ms
    if normal_ms is None:
        return None
    limit_ms = NORMAL_TIMES * normal_ms
    calm_slots = {
        slot
        for slot, _, _ in record.cells
        if any(from_s <= (slot + 0.5) * record.slot_s < to_s for from_s, to_s in calm)
    }
    wanted = _share_well(record, calm_slots, limit_ms) - NORMAL_LESS
    first = round(after.start_s / record.slot_s)
    last = int(after.end_s / record.slot_s)
    length = max(round(NORMAL_FOR_S / record.slot_s), 1)
    for slot in range(first, last - length + 1):
        if _share_well(record, set(range(slot, slot + length)), limit_ms) >= wanted:
            return (slot - first) * record.slot_s
    return None


def _share_well(record: Record, slots: set[int], limit_ms: float) -> float:
    """Part of the calls due in some slots that were answered well within a time; 1 without any."""
    total = 0
    well = 0.0
    for (slot, _, outcome), cell in record.cells.items():
        if slot in slots:
            total += cell.count
            if outcome == outcomes.OK:
                well += cell.count * cell.response.share_within(limit_ms)
    return well / total if total else 1.0

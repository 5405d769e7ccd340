"""Figures of a span of time out of a record: pure functions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from loadtest import outcomes
from loadtest.histogram import Histogram, merged
from loadtest.record import Cell, Record


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Milliseconds; None where nothing was measured."""

    count: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> "Percentiles":
        """The percentiles of a histogram."""
        return cls(
            count=histogram.count,
            p50_ms=histogram.percentile(0.5),
            p90_ms=histogram.percentile(0.9),
            p99_ms=histogram.percentile(0.99),
            max_ms=histogram.max_ms if histogram.count else None,
        )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Calls that were due in a span of time."""

    duration_s: float
    # Calls by outcome.
    outcomes: dict[str, int]
    # From the schedule to the end, of what was admitted.
    admitted: Percentiles
    # From the sending to the refusal.
    refused: Percentiles
    refused_with_retry_after: int
    # From the schedule to a stream's first event.
    first_event: Percentiles
    # How late calls were sent.
    lateness: Percentiles
    # Longest time from a sending to its end.
    longest_service_ms: float
    # Good replies that arrived in the span.
    completed: int

    @property
    def offered(self) -> int:
        """Calls that were due."""
        return sum(self.outcomes.values())

    @property
    def sent(self) -> int:
        """Calls that were sent."""
        return self.offered - self.outcomes.get(outcomes.GENERATOR_SATURATED, 0)

    @property
    def failed(self) -> int:
        """Calls that were sent and not answered."""
        return self.sent - sum(self.outcomes.get(name, 0) for name in outcomes.ANSWERED)

    def share(self, outcome: str) -> float:
        """Part of the calls sent that ended so; 0 without calls."""
        return self.outcomes.get(outcome, 0) / self.sent if self.sent else 0.0

    @property
    def failed_share(self) -> float:
        """Part of the calls sent that were not answered; 0 without calls."""
        return self.failed / self.sent if self.sent else 0.0

    @property
    def saturated_share(self) -> float:
        """Part of the calls due that the generator could not send."""
        saturated = self.outcomes.get(outcomes.GENERATOR_SATURATED, 0)
        return saturated / self.offered if self.offered else 0.0

    @property
    def offered_per_s(self) -> float:
        """Calls due a second."""
        return self.offered / self.duration_s if self.duration_s else 0.0

    @property
    def goodput_per_s(self) -> float:
        """Good replies (in time, nothing degraded) that arrived a second."""
        return self.completed / self.duration_s if self.duration_s else 0.0

    @property
    def retry_after_share(self) -> float | None:
        """Part of the refusals that say when to come back; None without refusals."""
        count = self.outcomes.get(outcomes.REFUSED, 0)
        return self.refused_with_retry_after / count if count else None


Span = tuple[float, float]


def measure(record: Record, spans: Iterable[Span], method: str | None = None) -> Measure:
    """What was measured in some spans of time, of one method or of all.

    Args:
        record: where to look.
        spans: half-open spans in seconds since the start; a slot counts if its middle is in one.
        method: None for all.
    """
    spans = list(spans)
    inside = _inside(record, spans)
    cells = [
        (outcome, cell)
        for (slot, called, outcome), cell in record.cells.items()
        if inside(slot) and method in (None, called)
    ]
    counts: dict[str, int] = {}
    for outcome, cell in cells:
        counts[outcome] = counts.get(outcome, 0) + cell.count
    refused = [cell for outcome, cell in cells if outcome == outcomes.REFUSED]
    admitted = [cell for outcome, cell in cells if outcome in outcomes.ADMITTED]
    return Measure(
        duration_s=sum(to_s - from_s for from_s, to_s in spans),
        outcomes=dict(sorted(counts.items())),
        admitted=Percentiles.of(merged(cell.response for cell in admitted)),
        refused=Percentiles.of(merged(cell.service for cell in refused)),
        refused_with_retry_after=sum(cell.with_retry_after for cell in refused),
        first_event=Percentiles.of(merged(cell.first_event for cell in admitted)),
        lateness=Percentiles.of(
            merged(histogram for slot, histogram in record.lateness.items() if inside(slot))
        ),
        longest_service_ms=max((cell.service.max_ms for _, cell in cells), default=0.0),
        completed=sum(
            count
            for (slot, called), count in record.completed.items()
            if inside(slot) and method in (None, called)
        ),
    )


def methods(record: Record) -> list[str]:
    """The methods that were called."""
    return sorted({method for _, method, _ in record.cells})


def server_steps(record: Record, spans: Iterable[Span]) -> dict[str, dict[str, Percentiles]]:
    """The server's own time by method and step, as the replies tell it."""
    inside = _inside(record, list(spans))
    found: dict[str, dict[str, Histogram]] = {}
    for method, cell in _cells(record, inside):
        for step, histogram in cell.server_steps.items():
            found.setdefault(method, {}).setdefault(step, Histogram()).merge(histogram)
    return {
        method: {step: Percentiles.of(histogram) for step, histogram in sorted(steps.items())}
        for method, steps in sorted(found.items())
    }


def degraded_steps(record: Record, spans: Iterable[Span]) -> dict[str, int]:
    """Replies by the step that a fallback replaced."""
    found: dict[str, int] = {}
    for _, cell in _cells(record, _inside(record, list(spans))):
        for step, count in cell.degraded_steps.items():
            found[step] = found.get(step, 0) + count
    return dict(sorted(found.items()))


def _cells(record: Record, inside: Callable[[int], bool]) -> Iterator[tuple[str, Cell]]:
    return ((method, cell) for (slot, method, _), cell in record.cells.items() if inside(slot))


def _inside(record: Record, spans: list[Span]) -> Callable[[int], bool]:
    def inside(slot: int) -> bool:
        middle_s = (slot + 0.5) * record.slot_s
        return any(from_s <= middle_s < to_s for from_s, to_s in spans)

    return inside

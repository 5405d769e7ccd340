"""A run slot by slot: the series that charts and CSV files show."""

from collections.abc import Iterable
from dataclasses import dataclass

from loadtest import outcomes
from loadtest.histogram import Histogram, merged
from loadtest.record import Record
from loadtest.sender import SERVER_TOTAL

# Steps in the legend of the chart; the table has them all.
MOST_STEPS = 9


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One slot of a run."""

    # Its middle, in seconds since the start.
    at_s: float
    offered_per_s: float
    goodput_per_s: float
    # Calls that were not answered well, a second, by outcome.
    troubles_per_s: dict[str, float]
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    refused_p99_ms: float | None
    with_retry_after_per_s: float
    first_event_p50_ms: float | None
    first_event_p99_ms: float | None
    lateness_p99_ms: float | None
    # Mean of the server's own time by step.
    server_mean_ms: dict[str, float]


def moments(record: Record) -> list[Moment]:
    """Every slot from the first to the last call."""
    slots = {slot for slot, _, _ in record.cells} | {slot for slot, _ in record.completed}
    return [_moment(record, slot) for slot in range(max(slots) + 1)] if slots else []


def _moment(record: Record, slot: int) -> Moment:
    cells = [(name, cell) for (at, _, name), cell in record.cells.items() if at == slot]
    admitted = [cell for name, cell in cells if name in outcomes.ADMITTED]
    refused = [cell for name, cell in cells if name == outcomes.REFUSED]
    latency = merged(cell.response for cell in admitted)
    first_event = merged(cell.first_event for cell in admitted)
    troubles: dict[str, float] = {}
    for name, cell in cells:
        if name != outcomes.OK:
            troubles[name] = troubles.get(name, 0.0) + cell.count / record.slot_s
    steps: dict[str, Histogram] = {}
    for cell in admitted:
        for step, histogram in cell.server_steps.items():
            steps.setdefault(step, Histogram()).merge(histogram)
    completed = sum(count for (at, _), count in record.completed.items() if at == slot)
    return Moment(
        at_s=(slot + 0.5) * record.slot_s,
        offered_per_s=sum(cell.count for _, cell in cells) / record.slot_s,
        goodput_per_s=completed / record.slot_s,
        troubles_per_s=troubles,
        p50_ms=latency.percentile(0.5),
        p90_ms=latency.percentile(0.9),
        p99_ms=latency.percentile(0.99),
        refused_p99_ms=merged(cell.service for cell in refused).percentile(0.99),
        with_retry_after_per_s=sum(cell.with_retry_after for cell in refused) / record.slot_s,
        first_event_p50_ms=first_event.percentile(0.5),
        first_event_p99_ms=first_event.percentile(0.99),
        lateness_p99_ms=record.lateness.get(slot, Histogram()).percentile(0.99),
        server_mean_ms={step: made.mean_ms or 0.0 for step, made in steps.items()},
    )


def slowest_steps(run: Iterable[Moment]) -> list[str]:
    """Names of the server's steps, the longest first, the total before all."""
    sums: dict[str, float] = {}
    for moment in run:
        for step, mean_ms in moment.server_mean_ms.items():
            sums[step] = sums.get(step, 0.0) + mean_ms
    names = sorted(sums, key=lambda step: (step != SERVER_TOTAL, -sums[step]))
    return names[:MOST_STEPS]


def trouble_names(run: Iterable[Moment]) -> list[str]:
    """Outcomes that occurred beside OK."""
    return sorted({name for moment in run for name in moment.troubles_per_s})

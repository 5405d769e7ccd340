"""The points of a sweep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from model_build.serving_profile import TunedHosting

_DELAYS_MICROSECONDS = (0, 500, 2000)
_MIDDLE_BATCH_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The values that a sweep combines, each rising."""

    # (instances, threads of each)
    lanes: tuple[tuple[int, int], ...]
    delays_microseconds: tuple[int, ...]
    batch_rows: tuple[int, ...]

    def points(self) -> tuple[TunedHosting, ...]:
        """All combinations that differ in what they do, the simplest first.

        Where no batch is waited for, because one row fills it, there is no delay to choose.
        """
        found = {
            TunedHosting(
                instances=instances,
                intra_op_threads=threads,
                max_queue_delay_microseconds=delay if rows > 1 else 0,
                max_batch_rows=rows,
            )
            for (instances, threads), delay, rows in product(
                self.lanes, self.delays_microseconds, self.batch_rows
            )
        }
        return tuple(sorted(found, key=simplicity))


def simplicity(point: TunedHosting) -> tuple[int, int, int, int]:
    """Sorts the simpler of two points first: fewest threads in all, least delay, smallest batch.

    Of two with as many threads in all, the one with fewer instances needs less memory.
    """
    return (
        point.instances * point.intra_op_threads,
        point.max_queue_delay_microseconds,
        point.max_batch_rows,
        point.instances,
    )


def lanes_for(cores: int) -> tuple[tuple[int, int], ...]:
    """Pairs (instances, threads) for a machine with so many cores.

    Powers of two, and the number of cores itself. A machine with few cores may be given twice as
    many threads as cores, because an instance also waits for its server.
    """
    most = max(cores, min(2 * cores, 4))
    counts = sorted({*(2**i for i in range(most.bit_length())), cores})
    return tuple(
        (instances, threads)
        for instances in counts
        for threads in counts
        if instances * threads <= most and threads <= cores
    )


def default_axes(cores: int, rows_per_request: int, concurrency: int, max_batch_rows: int) -> Axes:
    """What is swept unless something else is asked for.

    Args:
        cores: of this machine.
        rows_per_request: a batch limit below it would do nothing.
        concurrency: a batch cannot grow beyond the rows that are in flight.
        max_batch_rows: what the model takes at most.
    """
    in_flight = rows_per_request * concurrency
    limits = {rows_per_request, rows_per_request * _MIDDLE_BATCH_ROWS, max_batch_rows}
    useful = sorted(rows for rows in limits if rows <= max_batch_rows)
    # The smallest limit that is never reached stands for all larger ones.
    beyond = [rows for rows in useful if rows >= in_flight]
    return Axes(
        lanes=lanes_for(cores),
        delays_microseconds=_DELAYS_MICROSECONDS,
        batch_rows=tuple(rows for rows in useful if rows <= min(beyond, default=max_batch_rows)),
    )


def fitting(axes: Axes, cores: int, most: int) -> Axes | None:
    """The finest form of `axes` with at most `most` points; None if even the coarsest has more."""
    for coarser in _coarser(axes, cores):
        if len(coarser.points()) <= most:
            return coarser
    return None


def _coarser(axes: Axes, cores: int) -> Iterator[Axes]:
    """The axes, then forms with fewer and fewer points."""
    delays, rows = _ends(axes.delays_microseconds), _ends(axes.batch_rows)
    yield axes
    for lanes, some_delays in (
        (axes.lanes, delays),
        (_busy(axes.lanes, cores // 2), delays),
        (_busy(axes.lanes, cores), delays),
        (_busy(axes.lanes, cores), delays[:1]),
    ):
        yield Axes(lanes=lanes, delays_microseconds=some_delays, batch_rows=rows)


def _busy(lanes: Sequence[tuple[int, int]], threads: int) -> tuple[tuple[int, int], ...]:
    """The single thread, and the lanes that have at least so many threads in all."""
    return tuple(lane for lane in lanes if lane == (1, 1) or lane[0] * lane[1] >= threads)


def _ends(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((values[0], values[-1])))

"""The sweep that a command line asks for."""

from dataclasses import dataclass, replace
from pathlib import Path

import click

from model_build.serving_profile import spec_hosting, tuned_hosting
from model_build.spec import ModelSpec, Target
from model_build.tune.grid import Axes, default_axes, fitting
from model_build.tune.machine import usable_cores
from model_build.tune.schedule import most_points
from model_build.tune.sweep import SweepOptions

# What is tuned here; on a GPU other things matter (one instance, larger batches).
TARGET: Target = "cpu"
# Time for the server to start and for requests to be made.
_START_S = 5.0


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers, separated by commas, each once."""

    name = "n,n,…"

    def __init__(self, smallest: int) -> None:
        self._smallest = smallest

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers, rising."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isdecimal() for word in words):
            self.fail(f"{value!r}: must be whole numbers, separated by commas", param, ctx)
        numbers = sorted({int(word) for word in words})
        if numbers[0] < self._smallest:
            self.fail(f"{numbers[0]} is below {self._smallest}", param, ctx)
        return tuple(numbers)


@dataclass(frozen=True, kw_only=True)
class AskedAxes:
    """Values of the sweep that the command line gives; None: the default ones."""

    instances: tuple[int, ...] | None
    threads: tuple[int, ...] | None
    delays: tuple[int, ...] | None
    batches: tuple[int, ...] | None


def sweep_options(
    spec: ModelSpec,
    asked: AskedAxes,
    repository: Path,
    rows: int,
    concurrency: int,
    levels: tuple[int, ...] | None,
    p99_ms: float,
    minutes: float,
) -> SweepOptions:
    """The sweep that was asked for.

    Raises:
        click.UsageError: it cannot be made; names the option.
        StartupError: the profile in place is unusable.
    """
    queue = spec.hosting[TARGET].batching.max_queue_size
    if levels is None:
        most = 4 * concurrency
        levels = (1, most if queue is None else max(concurrency, min(most, queue)))
    for option, in_flight in (("--concurrency", concurrency), ("--levels", levels[-1])):
        # With as many in flight as it takes, the queue never fills.
        if queue is not None and in_flight > queue:
            raise click.UsageError(
                f"{option} {in_flight}: the queue of {spec.name} takes {queue} requests"
            )
    others = tuple(level for level in dict.fromkeys(levels) if level != concurrency)
    seconds = minutes * 60.0 - _START_S
    in_use = tuned_hosting(repository, spec, TARGET) or spec_hosting(spec, TARGET)
    axes = _axes(spec, asked, rows, concurrency)
    draft = SweepOptions(
        points=(),
        in_use=in_use,
        concurrency=concurrency,
        other_levels=others,
        p99_limit_ms=p99_ms,
        seconds=seconds,
    )
    # The point in use comes on top.
    most = most_points(seconds, draft.load_s, 1 + len(others))
    cores = usable_cores()
    given = any(values is not None for values in vars(asked).values())
    fitted = axes if given else fitting(axes, cores, most)
    points = len(axes.points()) if fitted is None else len(fitted.points())
    if fitted is None or len(set(fitted.points()) - {in_use}) > most:
        raise click.UsageError(
            f"--minutes {minutes:g}: too short for {points} points; give more, or fewer values "
            "with --instances, --threads, --delays and --batches"
        )
    return replace(draft, points=fitted.points())


def _axes(spec: ModelSpec, asked: AskedAxes, rows: int, concurrency: int) -> Axes:
    default = default_axes(usable_cores(), rows, concurrency, spec.max_batch_size)
    lanes = default.lanes
    if asked.instances is not None or asked.threads is not None:
        lanes = tuple(
            (count, threads)
            for count in asked.instances or sorted({lane[0] for lane in lanes})
            for threads in asked.threads or sorted({lane[1] for lane in lanes})
        )
    if asked.batches is not None and asked.batches[-1] > spec.max_batch_size:
        raise click.UsageError(
            f"--batches {asked.batches[-1]}: {spec.name} takes at most {spec.max_batch_size} rows"
        )
    return Axes(
        lanes=lanes,
        delays_microseconds=asked.delays or default.delays_microseconds,
        batch_rows=asked.batches or default.batch_rows,
    )

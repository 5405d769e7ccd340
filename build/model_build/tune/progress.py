"""The bar of a sweep: it moves with the time, which is what a sweep is bounded by."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model_build.serving_profile import TunedHosting
from model_build.tune.sweep import Watch

# Drawing takes CPU time from what is measured.
_REDRAWS_PER_SECOND = 2


@contextmanager
def sweep_bar(console: Console, seconds: float) -> Iterator[Watch]:
    """A bar that is full after `seconds`; on what is no terminal only its end is printed."""
    progress = Progress(
        TextColumn("  {task.description:<32}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=_REDRAWS_PER_SECOND,
    )
    with progress:
        task = progress.add_task("starting", total=seconds)

        def watch(stage: int, stages: int, point: TunedHosting, elapsed_s: float) -> None:
            text = f"stage {stage} of {stages}: {point.label}"
            progress.update(task, description=text, completed=min(elapsed_s, seconds))

        yield watch
        progress.update(task, description="done", completed=seconds)

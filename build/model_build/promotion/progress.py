"""The bar of the latency gate: it moves with the rounds."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model_build.promotion.latency import Watch

# Drawing takes CPU time from what is measured.
_REDRAWS_PER_SECOND = 2


@contextmanager
def rounds_bar(console: Console, rounds: int) -> Iterator[Watch]:
    """A bar of the rounds; on what is no terminal only its end is printed."""
    progress = Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=_REDRAWS_PER_SECOND,
    )
    with progress:
        task = progress.add_task("rounds", total=rounds)
        yield lambda done, of: progress.update(task, completed=done)

"""Progress of long work on the terminal: one bar a piece of work."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
# Drawing takes CPU time from what is measured.
_REDRAWS_PER_SECOND = 2


class Tracker(Protocol):
    """Shows how far a loop is."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yields the items and moves a bar of length `total` along."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yields the items."""
        yield from items


class Bars:
    """Bars on a console; on one that is no terminal, only the finished line is printed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yields the items and moves a bar of length `total` along."""
        progress = Progress(
            TextColumn("  {task.description:<32}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        with progress:
            yield from progress.track(items, total=total, description=description)


@contextmanager
def counting_bar(
    console: Console, description: str, total: int
) -> Iterator[Callable[[int, int], None]]:
    """A bar for measurements, which it is to disturb little; it is told (done, of how many).

    On what is no terminal only its end is printed.
    """
    progress = Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=_REDRAWS_PER_SECOND,
    )
    with progress:
        task = progress.add_task(description, total=total)
        yield lambda done, of: progress.update(task, completed=done)

"""Progress of long work on the terminal: one bar a piece of work."""

from collections.abc import Iterable, Iterator
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

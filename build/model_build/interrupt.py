"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor or in a
callback of a C library it is printed and forgotten, and some libraries' imports swallow it. So it
is remembered as well, and raised again at the next step of long work.
"""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import NoReturn, Self, TypeVar

from model_build.progress import Tracker

T = TypeVar("T")


class Interrupt:
    """Remembers SIGINT for the length of a block. For the main thread."""

    def __init__(self) -> None:
        self._asked = False
        self._before: object = None

    def check(self) -> None:
        """Does nothing unless Ctrl-C was pressed.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def _interrupted(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self._asked = True
        raise KeyboardInterrupt


class Stoppable:
    """A tracker whose loops end at the next item after Ctrl-C."""

    def __init__(self, tracker: Tracker, interrupt: Interrupt) -> None:
        self._tracker = tracker
        self._interrupt = interrupt

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yields the items and moves a bar along.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        for item in self._tracker.track(items, description, total):
            self._interrupt.check()
            yield item

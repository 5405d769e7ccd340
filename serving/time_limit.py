"""Time limits of coroutines; one timer of the loop serves all of them.

`asyncio.timeout` makes and cancels a timer each time, which costs more than many a step. Here the
moments stand in a heap, and the loop has one timer, for the earliest. Limits that were not reached
(nearly all) leave the heap when their moment comes.
"""

import asyncio
import heapq
import math
import weakref
from types import TracebackType
from typing import Self

# With so many entries whose block has ended, the heap is cleared of them.
_MANY = 4096


class TimeLimit:
    """Ends a block at a moment on the monotonic clock, as `asyncio.timeout_at` does.

    For a `with` statement inside a task. The block's task is cancelled at that moment, and leaves
    the block with `TimeoutError`. A cancellation from elsewhere passes through.
    """

    __slots__ = ("_cancelling", "_task", "at_s", "expired")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        # Whether the moment came while the block ran.
        self.expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._task = task
        self._cancelling = task.cancelling()
        _moments(asyncio.get_running_loop()).add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if (
            self.expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    @property
    def over(self) -> bool:
        """Whether the block has ended."""
        return self._task is None

    def expire(self) -> None:
        """Cancels the block's task, if the block still runs."""
        if self._task is not None:
            self.expired = True
            self._task.cancel()


class _Moments:
    """The limits of one loop, by their moments."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._heap: list[tuple[float, int, TimeLimit]] = []
        self._made = 0
        self._timer_at_s = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: TimeLimit) -> None:
        self._made += 1
        heapq.heappush(self._heap, (limit.at_s, self._made, limit))
        if limit.at_s < self._timer_at_s:
            self._set_timer(limit.at_s)
        if self._made % _MANY == 0:
            self._heap = [entry for entry in self._heap if not entry[2].over]
            heapq.heapify(self._heap)

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = self._loop()
        if loop is not None:
            self._timer_at_s = at_s
            self._timer = loop.call_at(at_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at_s = math.inf
        loop = self._loop()
        if loop is None:
            return
        now_s = loop.time()
        while self._heap and (self._heap[0][2].over or self._heap[0][0] <= now_s):
            heapq.heappop(self._heap)[2].expire()
        if self._heap:
            self._set_timer(self._heap[0][0])


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Moments]" = (
    weakref.WeakKeyDictionary()
)


# A process has one loop nearly always: the last one asked for, and its moments.
_last: "tuple[weakref.ref[asyncio.AbstractEventLoop], _Moments] | None" = None


def _moments(loop: asyncio.AbstractEventLoop) -> _Moments:
    global _last
    if _last is not None and _last[0]() is loop:
        return _last[1]
    moments = _of_loop.get(loop)
    if moments is None:
        moments = _of_loop[loop] = _Moments(loop)
    _last = (weakref.ref(loop), moments)
    return moments

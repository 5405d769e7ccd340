"""Sends concurrent calls for one destination in few batches, and waits for nobody.

    calls ─▶ waiting ─▶ choose ─▶ batch ─▶ send ─▶ one result a call
                ▲                  └─ at most `places()` under way

A call leaves as soon as a place is free; what gathers while all places are taken leaves together.
So a single call pays nothing for company, and batches grow with the load by themselves. There is
no timer to wait for more.

Each call is answered on its own: one that is cancelled or out of time leaves its batch, and the
others are not disturbed; a batch that nobody waits for any more is cancelled. When a batch fails
for what one call may have brought, its calls are sent again one by one.

For one event loop. Knows nothing of models and transports.
"""

import asyncio
import copy
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from serving.deadline import Deadline
from serving.errors import CartwrightError, DeadlineExceeded, Internal, Overloaded, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Departure(StrEnum):
    """Why a batch left when it did."""

    # Nobody waited before it: a place was free.
    FREE = "free"
    # A place came free, and everybody who fitted was taken.
    PLACE = "place"
    # As many as a batch may have.
    FULL = "full"
    # Sent again by itself after its batch had failed.
    APART = "apart"


@dataclass(eq=False, kw_only=True, slots=True)
class Call(Generic[Item, Result]):
    """One call that waits or is under way."""

    item: Item
    # Size within a batch, e.g. rows of its tensors.
    rows: int
    deadline: Deadline
    future: "asyncio.Future[Result]"
    arrived_s: float
    apart: bool = False
    batch: "_Batch[Item, Result] | None" = None
    # What became of it, for the caller's span.
    departure: Departure = Departure.FREE
    batch_rows: int = 0
    waited_ms: float = 0.0


@dataclass(eq=False, kw_only=True, slots=True)
class _Batch(Generic[Item, Result]):
    calls: Sequence[Call[Item, Result]]
    live: int
    task: "asyncio.Task[None] | None" = None


@dataclass(kw_only=True)
class CoalescerStats:
    """Counts since the start, and what is there now; read by metrics."""

    # Rows of a batch -> batches that left with so many.
    batches: Counter[int] = field(default_factory=Counter)
    departures: Counter[Departure] = field(default_factory=Counter)
    calls: int = 0
    # Seconds that all calls together waited for a place.
    waited_s: float = 0.0
    expired: int = 0
    cancelled: int = 0
    refused: int = 0
    waiting: int = 0
    under_way: int = 0


# Calls of one batch, and the latest of their deadlines -> one result a call, in order.
Send = Callable[[Sequence[Call[Item, Result]], Deadline], Awaitable[Sequence[Result]]]
# Everything that waits, and the rows that a batch should have -> what leaves together.
Choose = Callable[[Sequence[Call[Item, Result]], int], Sequence[Call[Item, Result]]]


def most_urgent(waiting: Sequence[Call[Item, Result]], rows: int) -> Sequence[Call[Item, Result]]:
    """The calls with the earliest deadlines that fit into `rows`; always at least one."""
    chosen: list[Call[Item, Result]] = []
    for call in sorted(waiting, key=lambda c: c.deadline.at_s):
        if chosen and call.rows > rows:
            break
        chosen.append(call)
        rows -= call.rows
        if rows <= 0:
            break
    return chosen


class Coalescer(Generic[Item, Result]):
    """Calls of one process for one destination."""

    def __init__(
        self,
        what: str,
        send: Send[Item, Result],
        *,
        places: Callable[[], int],
        max_rows: int,
        max_waiting: int,
        choose: Choose[Item, Result] = most_urgent,
        splits_on: tuple[type[CartwrightError], ...] = (),
        retry_after_ms: int = 100,
    ) -> None:
        """Sends nothing yet.

        Args:
            what: the destination, for errors.
            send: carries a batch there. Must return as many results as it was given calls.
            places: batches that may be under way now.
            max_rows: rows of one batch; a single call may have more.
            max_waiting: calls that may wait; further ones are refused at once.
            choose: which of the waiting calls leave together; always at least one.
            splits_on: errors of a batch that one of its calls may have caused.
            retry_after_ms: what a refused caller is told to wait.
        """
        self._what = what
        self._send = send
        self._places = places
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._choose = choose
        self._splits_on = splits_on
        self._retry_after_ms = retry_after_ms
        self._waiting: list[Call[Item, Result]] = []
        self._under_way: set[_Batch[Item, Result]] = set()
        # Earliest moment on the monotonic clock at which a call may have to be given up.
        self._look_at_s = math.inf
        self._look: asyncio.TimerHandle | None = None
        self._departing = False
        self._closed = False
        self._stats = CoalescerStats()

    @property
    def under_way(self) -> int:
        """Batches that were sent and are not back."""
        return len(self._under_way)

    def stats(self) -> CoalescerStats:
        """The counters; the same object each time, with its gauges brought up to date."""
        self._stats.waiting = len(self._waiting)
        self._stats.under_way = len(self._under_way)
        return self._stats

    def submit(self, item: Item, rows: int, deadline: Deadline) -> Call[Item, Result]:
        """Takes a call; await it with `result`.

        Raises:
            Overloaded: too many calls wait.
            DeadlineExceeded: no time is left.
            Unavailable: the coalescer is closed.
        """
        if self._closed:
            raise Unavailable(f"{self._what}: this process is stopping")
        now_s = time.monotonic()
        if deadline.at_s <= now_s:
            raise DeadlineExceeded(f"no time left for {self._what}")
        # Those that will leave at the end of this turn of the loop do not count as waiting.
        free = max(0, self._places() - len(self._under_way))
        if len(self._waiting) >= self._max_waiting + free:
            self._stats.refused += 1
            raise Overloaded(
                f"{self._max_waiting} calls wait for {self._what}", self._retry_after_ms
            )
        loop = asyncio.get_running_loop()
        call: Call[Item, Result] = Call(
            item=item, rows=rows, deadline=deadline, future=loop.create_future(), arrived_s=now_s
        )
        self._waiting.append(call)
        self._stats.calls += 1
        if deadline.at_s < self._look_at_s:
            self._look_again_at(deadline.at_s)
        if not self._departing:
            # After everything that arrived in this turn of the loop.
            self._departing = True
            loop.call_soon(self._depart, Departure.FREE)
        return call

    async def result(self, call: Call[Item, Result]) -> Result:
        """Waits for the answer. Cancelling it gives the call up.

        Raises:
            DeadlineExceeded: the call's deadline passed.
            Exception: what `send` raised for the batch.
        """
        try:
            return await call.future
        except asyncio.CancelledError:
            if call.future.done() and not call.future.cancelled():
                # Answered in the same turn of the loop; an error would count as never looked at.
                call.future.exception()
            self._stats.cancelled += 1
            self._leave(call)
            raise

    async def close(self) -> None:
        """Refuses further calls, answers those that wait with an error, and ends what is under way.

        What is under way may finish; its calls' deadlines bound the wait.
        """
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if not call.future.done():
                call.future.set_exception(Unavailable(f"{self._what}: this process is stopping"))
        tasks = [batch.task for batch in self._under_way if batch.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        if self._look is not None:
            self._look.cancel()

    # ---- leaving -----------------------------------------------------------------------------

    def _depart(self, reason: Departure) -> None:
        """Sends batches as long as there are calls and places."""
        self._departing = False
        while self._waiting:
            free = self._places() - len(self._under_way)
            if free <= 0:
                return
            # Spread over the free places: a batch of all would leave the other places idle.
            rows = sum(call.rows for call in self._waiting)
            wanted = min(self._max_rows, math.ceil(rows / free))
            apart = next((call for call in self._waiting if call.apart), None)
            chosen = (apart,) if apart is not None else self._choose(self._waiting, wanted)
            self._start(chosen, reason)

    def _start(self, calls: Sequence[Call[Item, Result]], reason: Departure) -> None:
        now_s = time.monotonic()
        leaving = set(map(id, calls))
        self._waiting = [call for call in self._waiting if id(call) not in leaving]
        rows = sum(call.rows for call in calls)
        if calls[0].apart:
            reason = Departure.APART
        elif rows >= self._max_rows:
            reason = Departure.FULL
        batch = _Batch(calls=calls, live=len(calls))
        for call in calls:
            call.batch = batch
            call.departure = reason
            call.batch_rows = rows
            call.waited_ms = (now_s - call.arrived_s) * 1000.0
            self._stats.waited_s += now_s - call.arrived_s
        self._stats.batches[rows] += 1
        self._stats.departures[reason] += 1
        self._under_way.add(batch)
        batch.task = asyncio.get_running_loop().create_task(self._run(batch))

    async def _run(self, batch: _Batch[Item, Result]) -> None:
        calls = batch.calls
        results: Sequence[Result] = ()
        error: BaseException | None = None
        try:
            results = await self._send(calls, Deadline(max(c.deadline.at_s for c in calls)))
            if len(results) != len(calls):
                error = Internal(f"{self._what}: {len(results)} results for {len(calls)} calls")
        except Exception as caught:  # noqa: BLE001 - handed on to every caller of the batch
            error = caught
        except asyncio.CancelledError as caught:
            # Nobody waits any more, or the loop is ending; then everybody has to know.
            error = caught
        self._under_way.discard(batch)
        if error is None:
            for call, result in zip(calls, results, strict=True):
                if not call.future.done():
                    call.future.set_result(result)
        else:
            self._fail(batch, error)
        # Before the callers go on: the destination should not wait for them.
        self._depart(Departure.PLACE)

    def _fail(self, batch: _Batch[Item, Result], error: BaseException) -> None:
        apart = len(batch.calls) > 1 and isinstance(error, self._splits_on) and not self._closed
        for call in batch.calls:
            if call.future.done():
                continue
            if apart:
                call.apart = True
                call.batch = None
                self._waiting.append(call)
            elif isinstance(error, asyncio.CancelledError):
                call.future.cancel()
            else:
                # One each: an exception that is raised in several places gathers all their frames.
                call.future.set_exception(copy.copy(error))

    # ---- giving up ---------------------------------------------------------------------------

    def _leave(self, call: Call[Item, Result]) -> None:
        """Forgets a call that nobody waits for; ends its batch if it was the last there."""
        batch = call.batch
        if batch is None:
            if call in self._waiting:
                self._waiting.remove(call)
            return
        # Whoever gives up twice (late and cancelled at once) counts once.
        call.batch = None
        batch.live -= 1
        if batch.live == 0 and batch.task is not None:
            batch.task.add_done_callback(lambda _: self._abandon(batch))
            batch.task.cancel()

    def _abandon(self, batch: _Batch[Item, Result]) -> None:
        """Frees the place of a batch whose task was cancelled before its first step."""
        if batch in self._under_way:
            self._under_way.discard(batch)
            self._depart(Departure.PLACE)

    def _look_again_at(self, at_s: float) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look_at_s = at_s
        delay_s = max(0.0, at_s - time.monotonic())
        self._look = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        """Gives up calls whose deadline has passed; one timer for all of them."""
        now_s = time.monotonic()
        next_s = math.inf
        under_way = [call for batch in self._under_way for call in batch.calls]
        for call in [*self._waiting, *under_way]:
            if call.future.done():
                continue
            if call.deadline.at_s > now_s:
                next_s = min(next_s, call.deadline.at_s)
                continue
            where = "for a place" if call.batch is None else "for its answer"
            waited_ms = (now_s - call.arrived_s) * 1000.0
            self._stats.expired += 1
            call.future.set_exception(
                DeadlineExceeded(
                    f"time ran out for {self._what} after {waited_ms:.0f} ms of waiting {where}"
                )
            )
            self._leave(call)
        self._look = None
        self._look_at_s = math.inf
        if next_s < math.inf:
            self._look_again_at(next_s)

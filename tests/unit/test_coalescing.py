"""The coalescer's promises: nobody waits for company, and nobody pays for a neighbour."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.coalescing.coalescer import Call, Coalescer, Departure, most_urgent
from serving.deadline import Deadline
from serving.errors import (
    DeadlineExceeded,
    Internal,
    ModelContractViolated,
    Overloaded,
    Unavailable,
)
from tests.waiting import until


class Destination:
    """Doubles numbers; can be held, and fails for some of them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.deadlines: list[Deadline] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: set[int] = set()
        self.error: Exception = Internal("a bad item")
        self.drop_results = 0

    async def send(self, calls: Sequence[Call[int, int]], deadline: Deadline) -> Sequence[int]:
        items = [call.item for call in calls]
        self.batches.append(items)
        self.deadlines.append(deadline)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.bad & set(items):
            raise self.error
        results = [2 * item for item in items]
        return results[: len(results) - self.drop_results]


class Rig:
    """A coalescer in front of a destination."""

    def __init__(self, **arguments: Any) -> None:
        self.places = 1
        self.there = Destination()
        values: dict[str, Any] = {
            "places": lambda: self.places,
            "max_rows": 4,
            "max_waiting": 16,
            "splits_on": (Internal,),
        }
        self.coalescer: Coalescer[int, int] = Coalescer(
            "the destination", self.there.send, **{**values, **arguments}
        )

    async def ask(self, item: int, milliseconds: float = 5000.0, rows: int = 1) -> int:
        call = self.coalescer.submit(item, rows, Deadline.after_ms(milliseconds))
        return await self.coalescer.result(call)

    def start(self, *items: int, **arguments: Any) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.ask(item, **arguments)) for item in items]

    async def waiting(self, count: int) -> None:
        await until(lambda: self.coalescer.stats().waiting == count)

    async def under_way(self, count: int) -> None:
        await until(lambda: len(self.there.batches) == count)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    made.there.gate.set()
    await made.coalescer.close()


async def test_a_single_call_leaves_at_once(rig: Rig) -> None:
    assert await rig.ask(3) == 6
    assert rig.coalescer.stats().departures == {Departure.FREE: 1}


async def test_what_gathers_while_all_places_are_taken_leaves_together(rig: Rig) -> None:
    rig.there.gate.clear()
    first = rig.start(1)
    await rig.under_way(1)
    rest = rig.start(2, 3, 4)
    await rig.waiting(3)
    rig.there.gate.set()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8]
    assert rig.there.batches == [[1], [2, 3, 4]]
    stats = rig.coalescer.stats()
    assert stats.batches == {1: 1, 3: 1}
    assert stats.departures == {Departure.FREE: 1, Departure.PLACE: 1}
    assert (stats.waiting, stats.under_way, stats.calls) == (0, 0, 4)


async def test_a_batch_is_no_larger_than_allowed(rig: Rig) -> None:
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    rest = rig.start(*range(1, 10))
    await rig.waiting(9)
    rig.there.gate.set()
    await asyncio.gather(*first, *rest)
    assert [len(batch) for batch in rig.there.batches] == [1, 4, 4, 1]
    assert rig.coalescer.stats().departures[Departure.FULL] == 2


async def test_free_places_share_what_waits(rig: Rig) -> None:
    rig.places = 2
    await asyncio.gather(*rig.start(1, 2, 3, 4))
    assert sorted(len(batch) for batch in rig.there.batches) == [2, 2]


async def test_the_earliest_deadline_leaves_first(rig: Rig) -> None:
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    late = rig.start(1, 2, 3, 4, milliseconds=60_000.0)
    urgent = rig.start(5, milliseconds=5_000.0)
    await rig.waiting(5)
    rig.there.gate.set()
    await asyncio.gather(*first, *late, *urgent)
    assert 5 in rig.there.batches[1]


async def test_a_batch_has_the_time_of_its_most_patient_call(rig: Rig) -> None:
    rig.places = 0
    calls = [rig.coalescer.submit(i, 1, Deadline.after_ms(1000.0 * (i + 1))) for i in range(3)]
    rig.places = 1
    await asyncio.gather(*(rig.coalescer.result(call) for call in calls))
    assert rig.there.deadlines == [calls[2].deadline]


async def test_a_cancelled_caller_does_not_hurt_its_neighbours(rig: Rig) -> None:
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    rest = rig.start(1, 2, 3)
    await rig.waiting(3)
    # One while it waits, one while it is under way.
    rest[0].cancel()
    await rig.waiting(2)
    first[0].cancel()
    await rig.under_way(2)
    rest[1].cancel()
    await asyncio.wait({rest[1]})
    rig.there.gate.set()
    assert await rest[2] == 6
    assert rig.there.batches == [[0], [2, 3]]
    # The first was alone in its batch, so nobody wanted the answer any more.
    assert rig.there.cancelled == 1
    assert rig.coalescer.stats().cancelled == 3


async def test_a_batch_that_nobody_waits_for_is_cancelled(rig: Rig) -> None:
    rig.there.gate.clear()
    rig.places = 0
    tasks = rig.start(1, 2)
    await rig.waiting(2)
    rig.places = 1
    tasks += rig.start(3)
    await rig.under_way(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await until(lambda: rig.there.cancelled == 1)
    assert rig.coalescer.stats().under_way == 0


async def test_a_deadline_ends_waiting_and_not_the_neighbours(rig: Rig) -> None:
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    short = rig.start(1, milliseconds=30.0)
    patient = rig.start(2)
    with pytest.raises(DeadlineExceeded, match="waiting for a place"):
        await short[0]
    rig.there.gate.set()
    assert await asyncio.gather(*first, *patient) == [0, 4]
    assert rig.there.batches == [[0], [2]]
    assert rig.coalescer.stats().expired == 1


async def test_a_deadline_under_way_ends_that_call_alone(rig: Rig) -> None:
    rig.there.gate.clear()
    rig.places = 0
    short = rig.start(1, milliseconds=60.0)
    patient = rig.start(2)
    await rig.waiting(2)
    rig.places = 1
    more = rig.start(3)
    await rig.under_way(1)
    with pytest.raises(DeadlineExceeded, match="waiting for its answer"):
        await short[0]
    rig.there.gate.set()
    assert await asyncio.gather(*patient, *more) == [4, 6]


async def test_without_time_nothing_is_sent(rig: Rig) -> None:
    with pytest.raises(DeadlineExceeded, match="no time left"):
        await rig.ask(1, milliseconds=-1.0)
    assert not rig.there.batches


async def test_one_bad_item_fails_alone(rig: Rig) -> None:
    rig.there.bad = {2}
    rig.there.error = ModelContractViolated("index out of range")
    results = await asyncio.gather(*rig.start(1, 2, 3), return_exceptions=True)
    assert results[0] == 2
    assert results[2] == 6
    assert isinstance(results[1], ModelContractViolated)
    assert rig.there.batches == [[1, 2, 3], [1], [2], [3]]
    assert rig.coalescer.stats().departures[Departure.APART] == 3


async def test_an_error_that_no_item_caused_is_everybodys(rig: Rig) -> None:
    rig.there.bad = {2}
    rig.there.error = Unavailable("the destination is gone")
    results = await asyncio.gather(*rig.start(1, 2, 3), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    # Each has its own: a shared one would gather the frames of all who raise it.
    assert len({id(result) for result in results}) == 3
    assert len(rig.there.batches) == 1


async def test_too_few_results_are_an_error_and_never_another_callers(rig: Rig) -> None:
    rig.there.drop_results = 1
    results = await asyncio.gather(*rig.start(1, 2), return_exceptions=True)
    assert all(isinstance(result, Internal) for result in results)


async def test_beyond_its_bound_a_call_is_refused_at_once() -> None:
    rig = Rig(max_waiting=2)
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    waiting = rig.start(1, 2)
    await rig.waiting(2)
    with pytest.raises(Overloaded, match="2 calls wait for the destination"):
        await rig.ask(3)
    assert rig.coalescer.stats().refused == 1
    rig.there.gate.set()
    assert await asyncio.gather(*first, *waiting) == [0, 2, 4]
    assert await rig.ask(3) == 6
    await rig.coalescer.close()


async def test_closing_answers_those_that_wait_and_lets_the_others_finish() -> None:
    rig = Rig()
    rig.there.gate.clear()
    first = rig.start(0)
    await rig.under_way(1)
    waiting = rig.start(1, 2)
    await rig.waiting(2)
    closing = asyncio.create_task(rig.coalescer.close())
    for task in waiting:
        with pytest.raises(Unavailable, match="stopping"):
            await task
    with pytest.raises(Unavailable, match="stopping"):
        await rig.ask(3)
    assert not closing.done()
    rig.there.gate.set()
    assert await first[0] == 0
    await closing


async def test_a_call_larger_than_a_batch_goes_alone(rig: Rig) -> None:
    big = rig.start(9, rows=7)
    small = rig.start(1, 2)
    assert await asyncio.gather(*big, *small) == [18, 2, 4]
    assert [9] in rig.there.batches


@settings(max_examples=60)
@given(
    calls=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), min_size=1, max_size=30),
    rows=st.integers(1, 12),
)
def test_the_most_urgent_fit_and_none_of_them_is_later_than_one_left_behind(
    calls: list[tuple[int, int]], rows: int
) -> None:
    future: Any = None
    waiting = [
        Call(item=i, rows=size, deadline=Deadline(at_s), future=future, arrived_s=0.0)
        for i, (size, at_s) in enumerate(calls)
    ]
    chosen = most_urgent(waiting, rows)
    assert chosen
    assert len(chosen) == 1 or sum(call.rows for call in chosen) <= rows
    left = [call for call in waiting if call not in chosen]
    if left:
        assert max(c.deadline.at_s for c in chosen) <= min(c.deadline.at_s for c in left)


@settings(max_examples=25)
@given(
    items=st.lists(
        st.tuples(st.sampled_from(["ask", "cancel", "bad", "late"]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
    places=st.integers(1, 3),
    max_rows=st.integers(1, 6),
)
def test_whatever_happens_everybody_gets_an_answer_of_their_own(
    items: list[tuple[str, int]], places: int, max_rows: int
) -> None:
    async def scenario() -> None:
        rig = Rig(max_rows=max_rows, max_waiting=1000)
        rig.places = places
        rig.there.bad = {i for i, (what, _) in enumerate(items) if what == "bad"}
        tasks = []
        for i, (what, turns) in enumerate(items):
            milliseconds = 0.001 if what == "late" else 5000.0
            tasks.append(asyncio.create_task(rig.ask(i, milliseconds)))
            for _ in range(turns):
                await asyncio.sleep(0)
            if what == "cancel":
                tasks[-1].cancel()
        began_s = time.monotonic()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - began_s < 4.0
        for i, (what, _) in enumerate(items):
            if what == "ask":
                assert results[i] == 2 * i
            elif what == "bad":
                assert isinstance(results[i], Internal)
            elif what == "late":
                assert results[i] == 2 * i or isinstance(results[i], DeadlineExceeded)
            else:
                assert results[i] == 2 * i or isinstance(results[i], asyncio.CancelledError)
        stats = rig.coalescer.stats()
        assert (stats.waiting, stats.under_way) == (0, 0)
        await rig.coalescer.close()

    asyncio.run(scenario())

"""A pipeline's events as a generator: order, back-pressure, errors, readers that go away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.ingress.watch import watch

Emit = Callable[[int], Awaitable[None]]


async def test_events_come_in_order_and_the_outcome_last() -> None:
    async def run(emit: Emit) -> str:
        for number in range(5):
            await emit(number)
        return "done"

    assert [told async for told in watch(run)] == [0, 1, 2, 3, 4, "done"]


async def test_an_event_is_told_before_the_next_one_is_known() -> None:
    go_on = asyncio.Event()

    async def run(emit: Emit) -> str:
        await emit(1)
        await go_on.wait()
        return "done"

    stream = watch(run)
    assert await asyncio.wait_for(anext(stream), 5) == 1
    go_on.set()
    assert await asyncio.wait_for(anext(stream), 5) == "done"
    await stream.aclose()


async def test_an_error_arrives_after_what_was_told() -> None:
    async def run(emit: Emit) -> str:
        await emit(1)
        raise ValueError("broken")

    stream = watch(run)
    assert await anext(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)


async def test_a_reader_that_goes_away_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def run(emit: Emit) -> str:
        await emit(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    stream = watch(run)
    assert await anext(stream) == 1
    await stream.aclose()
    assert cancelled.is_set()


async def test_a_slow_reader_slows_the_work_down() -> None:
    emitted = 0

    async def run(emit: Emit) -> str:
        nonlocal emitted
        for number in range(100):
            await emit(number)
            emitted += 1
        return "done"

    stream = watch(run)
    assert await anext(stream) == 0
    for _ in range(50):
        await asyncio.sleep(0)
    assert emitted <= 3
    assert [told async for told in stream][-1] == "done"

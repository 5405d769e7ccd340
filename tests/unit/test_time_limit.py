"""Time limits end what runs, and nothing else."""

import asyncio
import time

import pytest

from serving.time_limit import TimeLimit


def in_ms(milliseconds: float) -> float:
    return time.monotonic() + milliseconds / 1000.0


async def test_a_block_in_time_is_left_alone() -> None:
    with TimeLimit(in_ms(5000)) as limit:
        await asyncio.sleep(0)
    assert not limit.expired
    assert limit.over


async def test_a_block_that_lasts_is_ended() -> None:
    limit = TimeLimit(in_ms(20))
    with pytest.raises(TimeoutError), limit:
        await asyncio.Event().wait()
    assert limit.expired
    # The task goes on as if nothing had been.
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_moment_that_has_passed_ends_the_first_wait() -> None:
    with pytest.raises(TimeoutError), TimeLimit(in_ms(-1000)):
        await asyncio.Event().wait()


async def test_the_inner_of_two_limits_ends_first_and_the_outer_still_counts() -> None:
    with pytest.raises(TimeoutError), TimeLimit(in_ms(60)) as outer:
        with pytest.raises(TimeoutError), TimeLimit(in_ms(10)):
            await asyncio.Event().wait()
        assert not outer.expired
        await asyncio.Event().wait()
    assert outer.expired


async def test_a_cancellation_from_elsewhere_passes_through() -> None:
    async def work() -> None:
        with TimeLimit(in_ms(5000)):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_stays_that_error() -> None:
    with pytest.raises(ValueError, match="its own"), TimeLimit(in_ms(5000)):
        raise ValueError("its own")


async def test_many_limits_share_one_timer_and_each_rings_at_its_moment() -> None:
    async def wait(milliseconds: float) -> float:
        began_s = time.monotonic()
        with pytest.raises(TimeoutError), TimeLimit(in_ms(milliseconds)):
            await asyncio.Event().wait()
        return (time.monotonic() - began_s) * 1000.0

    wanted = [120.0, 20.0, 70.0, 20.0]
    took = await asyncio.gather(*map(wait, wanted))
    assert all(took_ms >= wanted_ms - 2.0 for took_ms, wanted_ms in zip(took, wanted, strict=True))
    # Thousands that were left in time neither ring nor pile up.
    for _ in range(10_000):
        with TimeLimit(in_ms(60_000)):
            pass
    await asyncio.sleep(0)


async def test_a_limit_that_comes_as_the_block_ends_is_no_error_later() -> None:
    for _ in range(200):
        with TimeLimit(in_ms(0.05)) as limit:
            while time.monotonic() < limit.at_s:
                pass
        assert limit.over
    await asyncio.sleep(0.001)

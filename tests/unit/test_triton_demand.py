import asyncio
import contextlib

import pytest

from serving.coalescing.coalescer import CoalescerStats
from serving.triton.demand import Demand, WaitingMeter, keep_telling
from tests.waiting import until


def test_waiting_is_the_time_waited_over_the_time_passed() -> None:
    meter = WaitingMeter()
    ranker, encoder = CoalescerStats(waited_s=3.0), CoalescerStats(waited_s=1.0)
    assert meter.note([ranker, encoder], 10.0) == 0.0, "nothing to compare with yet"
    ranker.waited_s += 4.0
    encoder.waited_s += 2.0
    assert meter.note([ranker, encoder], 12.0) == pytest.approx(3.0)
    assert meter.note([ranker, encoder], 13.0) == 0.0
    assert meter.note([ranker, encoder], 13.0) == 0.0, "no time has passed"


def test_replicas_add_up_and_a_silent_one_stops_to_count() -> None:
    now_s = 100.0
    demand = Demand(clock=lambda: now_s, stale_after_s=5.0)
    assert demand.waiting() == 0.0
    demand.note("a", 3.0)
    now_s += 4.0
    demand.note("b", 2.5)
    assert demand.waiting() == pytest.approx(5.5)
    now_s += 2.0
    assert demand.waiting() == pytest.approx(2.5)
    demand.note("b", 0.0)
    assert demand.waiting() == 0.0


async def test_waiting_is_told_until_there_is_none_and_a_lost_registry_is_told_again() -> None:
    stats = CoalescerStats()
    told: list[float] = []
    lost = 2

    async def tell(replica: str, waiting: float) -> None:
        nonlocal lost
        assert replica == "agent"
        if waiting and lost:
            lost -= 1
            raise ConnectionError("no registry")
        told.append(waiting)

    telling = asyncio.create_task(keep_telling("agent", lambda: [stats], tell, period_s=0.01))

    async def waits_on() -> bool:
        stats.waited_s += 0.1
        return bool(told)

    await until(waits_on)
    assert lost == 0
    assert told[0] > 0
    await until(lambda: told[-1] == 0.0)
    count = len(told)
    await asyncio.sleep(0.05)
    assert len(told) == count, "nothing new was told"
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling

import asyncio
import pickle
from dataclasses import replace

import pytest

from serving.models.version import ModelVersion
from serving.triton.discovery import HostDirectory, HostRecord, HostRegistry, HostState
from tests.waiting import until

READY = HostRecord(
    host_id="a", url="127.0.0.1:1", state=HostState.READY, ready_models={"ranker": (3,)}
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> HostRegistry:
    return HostRegistry(clock=clock, stale_after_s=5.0, forget_after_s=60.0)


def test_a_heartbeat_is_no_news(registry: HostRegistry) -> None:
    registry.publish(READY)
    revision, _ = registry.snapshot()
    registry.publish(replace(READY, ready_models={"ranker": (3,)}))
    assert registry.snapshot() == (revision, (READY,))
    registry.publish(replace(READY, ready_models={"ranker": (4,)}))
    assert registry.snapshot()[0] > revision


def test_silence_counts_as_down_and_a_word_brings_it_back(
    registry: HostRegistry, clock: Clock
) -> None:
    registry.publish(READY)
    clock.now_s += 4.9
    assert registry.snapshot()[1] == (READY,)
    clock.now_s += 0.2
    revision, (record,) = registry.snapshot()
    assert record.state is HostState.DOWN
    assert not record.ready_models
    assert "silent" in record.detail
    registry.publish(READY)
    assert registry.snapshot() == (revision + 1, (READY,))


def test_a_host_that_stays_silent_is_forgotten(registry: HostRegistry, clock: Clock) -> None:
    registry.publish(READY)
    clock.now_s += 59.0
    assert len(registry.snapshot()[1]) == 1
    clock.now_s += 2.0
    assert registry.snapshot()[1] == ()


def test_withdrawing_what_is_unknown_changes_nothing(registry: HostRegistry) -> None:
    before = registry.snapshot()
    registry.withdraw("a")
    assert registry.snapshot() == before


async def test_changes_wait_for_the_next_one(registry: HostRegistry) -> None:
    revision, _ = registry.snapshot()
    waiting = asyncio.create_task(registry.changes(revision, 30.0))
    others = [asyncio.create_task(registry.changes(revision, 30.0)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not waiting.done()
    registry.publish(READY)
    answers = await asyncio.gather(waiting, *others)
    assert all(records == (READY,) for _, records in answers)


async def test_changes_answer_at_once_to_one_who_is_behind(registry: HostRegistry) -> None:
    registry.publish(READY)
    revision, records = await registry.changes(-1, 30.0)
    assert records == (READY,)
    # One who knows a former registry's revision is behind as well.
    assert (await registry.changes(revision + 1000, 30.0))[0] == revision


async def test_changes_return_when_the_time_is_over() -> None:
    registry = HostRegistry()
    registry.publish(READY)
    revision, _ = registry.snapshot()
    assert await registry.changes(revision, 0.02) == (revision, (READY,))


async def test_silence_wakes_those_who_wait() -> None:
    registry = HostRegistry(stale_after_s=0.05)
    registry.publish(READY)
    revision, _ = registry.snapshot()
    _, (record,) = await asyncio.wait_for(registry.changes(revision, 30.0), 5.0)
    assert record.state is HostState.DOWN


async def test_a_registry_after_a_restart_is_never_taken_for_the_old_one() -> None:
    first = HostRegistry()
    first.publish(READY)
    second = HostRegistry()
    second.publish(READY)
    assert first.snapshot()[0] != second.snapshot()[0]


def test_records_travel_between_processes() -> None:
    assert pickle.loads(pickle.dumps(READY)) == READY


# ---- directory ---------------------------------------------------------------------------------


class Source:
    """A registry that can go away and come back empty."""

    def __init__(self) -> None:
        self.registry = HostRegistry()
        self.away = False
        self.asked = 0

    async def changes(
        self, since_revision: int, timeout_s: float
    ) -> tuple[int, tuple[HostRecord, ...]]:
        self.asked += 1
        if self.away:
            raise ConnectionError("the actor is gone")
        return await self.registry.changes(since_revision, timeout_s)


def ready(records: tuple[HostRecord, ...]) -> bool:
    return any(record.state is HostState.READY for record in records)


async def test_a_directory_follows() -> None:
    source = Source()
    async with HostDirectory(source.changes) as directory:
        assert directory.summary() == "no host is known"
        source.registry.publish(replace(READY, state=HostState.STARTING, ready_models={}))
        await directory.wait_until(lambda records: len(records) == 1, 5.0)
        assert directory.hosts_with(ModelVersion("ranker", 3)) == ()
        assert directory.summary() == "a: starting"
        source.registry.publish(READY)
        await directory.wait_until(ready, 5.0)
        assert directory.hosts_with(ModelVersion("ranker", 3)) == (READY,)
        assert directory.hosts_with(ModelVersion("ranker", 4)) == ()
        source.registry.publish(HostRecord(host_id="a", state=HostState.DOWN, detail="killed"))
        await directory.wait_until(lambda records: not ready(records), 5.0)
        assert directory.hosts_with(ModelVersion("ranker", 3)) == ()


async def test_a_registry_that_is_gone_does_not_take_the_hosts_with_it() -> None:
    source = Source()
    source.registry.publish(READY)
    async with HostDirectory(source.changes, poll_s=0.02) as directory:
        await directory.wait_until(ready, 5.0)
        source.away = True
        asked = source.asked
        await until(lambda: source.asked >= asked + 2)
        assert directory.hosts_with(ModelVersion("ranker", 3)) == (READY,)
        # It comes back and knows nothing yet.
        source.registry, source.away = HostRegistry(), False
        after = source.asked
        await until(lambda: source.asked >= after + 3)
        assert directory.hosts_with(ModelVersion("ranker", 3)) == (READY,)
        moved = replace(READY, url="127.0.0.1:2")
        source.registry.publish(moved)
        await directory.wait_until(lambda records: records == (moved,), 5.0)


async def test_a_host_that_said_it_is_down_may_leave_at_once() -> None:
    source = Source()
    source.registry.publish(HostRecord(host_id="a", state=HostState.DOWN))
    async with HostDirectory(source.changes) as directory:
        await directory.wait_until(lambda records: len(records) == 1, 5.0)
        source.registry.withdraw("a")
        await directory.wait_until(lambda records: not records, 5.0)

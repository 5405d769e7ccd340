import asyncio
from dataclasses import replace

from serving.triton.records import HostRecord, HostState, RecordPublisher
from tests.waiting import until

STARTING = HostRecord(host_id="a")
READY = replace(STARTING, state=HostState.READY)
DOWN = replace(STARTING, state=HostState.DOWN)


class Sink:
    """Takes records; may refuse, or not come back."""

    def __init__(self) -> None:
        self.records: list[HostRecord] = []
        self.refusals = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, record: HostRecord) -> None:
        await self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("the registry is gone")
        self.records.append(record)


async def test_every_change_is_published_in_order_and_closing_waits_for_the_last() -> None:
    sink = Sink()
    publisher = RecordPublisher(sink, heartbeat_period_s=60.0)
    sink.gate.clear()
    for record in (STARTING, READY, DOWN):
        publisher.tell(record)
    await asyncio.sleep(0)
    assert sink.records == []
    sink.gate.set()
    await publisher.close()
    assert sink.records == [STARTING, READY, DOWN]


async def test_the_last_record_is_repeated_as_a_heartbeat() -> None:
    sink = Sink()
    publisher = RecordPublisher(sink, heartbeat_period_s=0.01)
    publisher.tell(READY)
    await until(lambda: len(sink.records) >= 3)
    await publisher.close()
    assert set(map(id, sink.records)) == {id(READY)}


async def test_a_registry_that_refuses_hears_it_with_the_next_heartbeat() -> None:
    sink = Sink()
    sink.refusals = 2
    publisher = RecordPublisher(sink, heartbeat_period_s=0.01)
    publisher.tell(READY)
    await until(lambda: sink.records == [READY])
    await publisher.close()


async def test_closing_twice_or_unused_is_fine() -> None:
    publisher = RecordPublisher(Sink())
    await publisher.close()
    publisher.tell(READY)
    await publisher.close()
    await publisher.close()

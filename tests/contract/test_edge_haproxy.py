"""HAProxy itself, with Ray Serve's configuration and what is added to it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtest.bench.wire import Channel, decode_headers
from serving.edge.haproxy import LIMIT_HEADER, Edge, Unrecognised, edited
from serving.errors import RETRY_AFTER_KEY
from serving.runtime import LOOPBACK
from tests.haproxy_bench import EdgeBench, edge_bench
from tests.waiting import until

RECOMMEND = "/cartwright.v1.Agent/Recommend"
CONVERSE = "/cartwright.v1.Agent/Converse"
DECIDE = "/cartwright.v1.Agent/Decide"
LIST_MODELS = "/cartwright.v1.Models/ListModels"
WATCH = "/grpc.health.v1.Health/Watch"
# Its index in HTTP/2's static table of headers.
CONTENT_TYPE = "static 31"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
OK = grpc.StatusCode.OK


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[EdgeBench]:
    async with edge_bench(
        tmp_path, max_in_flight=10, min_in_flight=2, retry_after_ms=123
    ) as running:
        yield running


@pytest.fixture
async def channel(bench: EdgeBench) -> AsyncIterator[Any]:
    async with bench.channel() as open_channel:
        yield open_channel


async def code(bench: EdgeBench, path: str, channel: Any) -> grpc.StatusCode:
    return await (await bench.call(path, channel)).code()


async def answer(bench: EdgeBench, calls: list["asyncio.Task[Any]"]) -> None:
    """Lets everybody finish, and all were served."""
    for replica in bench.replicas:
        replica.may_answer.set()
    assert {await call.code() for call in await asyncio.gather(*calls)} <= {OK}
    await bench.held(0)
    for replica in bench.replicas:
        replica.may_answer.clear()


async def test_each_kind_finds_its_share_and_is_refused_beyond_it(
    bench: EdgeBench, channel: Any
) -> None:
    calls = bench.begin(RECOMMEND, 8, channel)
    await bench.held(8)
    refused = await bench.call(RECOMMEND, channel)
    assert await refused.code() is EXHAUSTED
    assert await refused.details() == "8 requests are in flight; 8 of this kind are let in now"
    trailing = dict(await refused.trailing_metadata())
    assert trailing[RETRY_AFTER_KEY] == "123"
    calls += bench.begin(CONVERSE, 1, channel)
    await bench.held(9)
    assert await code(bench, CONVERSE, channel) is EXHAUSTED
    calls += bench.begin(DECIDE, 1, channel)
    await bench.held(10)
    assert await code(bench, DECIDE, channel) is EXHAUSTED
    # Nobody at the replica heard of those that were refused.
    assert bench.replicas[0].in_flight == 10
    assert await bench.metric("haproxy_frontend_intercepted_requests_total") >= 3
    await answer(bench, calls)
    await answer(bench, bench.begin(RECOMMEND, 8, channel))


async def test_a_refusal_says_that_it_is_grpc(bench: EdgeBench, channel: Any) -> None:
    calls = bench.begin(DECIDE, 10, channel)
    await bench.held(10)
    seen: list[dict[str, str]] = []

    class Recording(Channel):
        def _status(self, block: bytes) -> tuple[str, bytes]:
            seen.append(decode_headers(block))
            return super()._status(block)

    def connection() -> Recording:
        return Recording(DECIDE, {}, lambda *_: None)

    transport, raw = await asyncio.get_running_loop().create_connection(
        connection, LOOPBACK, bench.port
    )
    await raw.ready
    raw.send(None, b"")
    await until(lambda: bool(seen))
    transport.close()
    # Without its type a client that insists, as grpc-go does, would see UNKNOWN.
    (headers,) = seen
    assert headers[":status"] == "200"
    assert headers["grpc-status"] == "8"
    assert headers[CONTENT_TYPE] == "application/grpc"
    await answer(bench, calls)


async def test_what_is_always_let_in_takes_no_place(bench: EdgeBench, channel: Any) -> None:
    uncounted = bench.begin(WATCH, 15, channel) + bench.begin(LIST_MODELS, 15, channel)
    await bench.held(30)
    counted = bench.begin(DECIDE, 10, channel)
    await bench.held(40)
    assert await code(bench, DECIDE, channel) is EXHAUSTED
    uncounted += bench.begin(WATCH, 1, channel)
    await bench.held(41)
    await answer(bench, uncounted + counted)


async def test_the_limit_is_what_the_replica_last_told(bench: EdgeBench, channel: Any) -> None:
    replica = bench.replicas[0]
    replica.limit = 4
    (call,) = bench.begin(DECIDE, 1, channel)
    await bench.held(1)
    replica.may_answer.set()
    assert LIMIT_HEADER not in dict(await (await call).initial_metadata())
    replica.may_answer.clear()
    calls = bench.begin(DECIDE, 4, channel)
    await bench.held(4)
    assert await code(bench, DECIDE, channel) is EXHAUSTED
    replica.limit = 6
    await answer(bench, calls)
    calls = bench.begin(DECIDE, 6, channel)
    await bench.held(6)
    assert await code(bench, DECIDE, channel) is EXHAUSTED
    await answer(bench, calls)


async def test_the_limit_is_for_each_replica_before_and_after_a_reload(tmp_path: Path) -> None:
    async with (
        edge_bench(tmp_path, replicas=2, max_in_flight=5, min_in_flight=2) as bench,
        bench.channel() as channel,
    ):
        calls = bench.begin(DECIDE, 10, channel)
        await bench.held(10)
        assert [replica.in_flight for replica in bench.replicas] == [5, 5]
        assert await code(bench, DECIDE, channel) is EXHAUSTED
        await answer(bench, calls)
        await channel.close()
        await bench.reload(bench.replicas[:1])
        async with bench.channel() as other:
            calls = bench.begin(DECIDE, 5, other)
            await bench.held(5)
            assert await code(bench, DECIDE, other) is EXHAUSTED
            await answer(bench, calls)


async def test_a_lost_replica_is_unavailable_and_no_overload(
    bench: EdgeBench, channel: Any
) -> None:
    calls = bench.begin(DECIDE, 10, channel)
    await bench.held(10)
    bench.replicas[0].may_answer.set()
    await bench.replicas[0].stop()
    await asyncio.gather(*calls)

    async def is_known() -> bool:
        return await code(bench, DECIDE, channel) is grpc.StatusCode.UNAVAILABLE

    await until(is_known)
    lost = await bench.call(DECIDE, channel)
    assert await lost.details() == "no replica answered"
    assert RETRY_AFTER_KEY not in dict(await lost.trailing_metadata())


async def test_without_the_setting_nobody_is_refused_at_the_edge(tmp_path: Path) -> None:
    async with (
        edge_bench(tmp_path, max_in_flight=2, min_in_flight=1, at_the_edge=False) as bench,
        bench.channel() as channel,
    ):
        calls = bench.begin(DECIDE, 20, channel)
        await bench.held(20)
        await answer(bench, calls)


EDGE = Edge(
    application="shop",
    metrics_host=LOOPBACK,
    max_in_flight=1,
    shares={DECIDE: 1.0},
    uncounted=(),
    retry_after_key=RETRY_AFTER_KEY,
    retry_after_ms=1,
)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ("global\n    maxconn 1\n", "no section 'frontend grpc_frontend'"),
        ("frontend grpc_frontend\n    mode http\nbackend grpc-shop\n", "no line '# Route per-app"),
    ],
)
def test_another_configuration_is_not_touched(config: str, missing: str) -> None:
    with pytest.raises(Unrecognised, match=missing):
        edited(config, EDGE, Path())


async def test_before_the_application_is_there_haproxy_starts_all_the_same(tmp_path: Path) -> None:
    async with edge_bench(tmp_path, max_in_flight=2, min_in_flight=1) as bench:
        await bench.reload([])
        assert bench.process.returncode is None
        await bench.reload(bench.replicas)
        async with bench.channel() as channel:
            calls = bench.begin(DECIDE, 2, channel)
            await bench.held(2)
            assert await code(bench, DECIDE, channel) is EXHAUSTED
            await answer(bench, calls)

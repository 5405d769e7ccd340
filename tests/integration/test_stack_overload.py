"""Overload through HAProxy: who is refused, how fast, and what the gauges show meanwhile."""

import asyncio
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.cli.run_file import read_run_file
from serving.errors import RETRY_AFTER_KEY
from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc
from tests.integration.conftest import BuiltModels
from tests.waiting import until

pytestmark = pytest.mark.integration

LIMIT = 8
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(scope="module")
def small_stack(
    models: BuiltModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """A stack that lets in eight calls."""
    folder = tmp_path_factory.mktemp("overload")
    overrides = {
        **models.environment(),
        "CARTWRIGHT_SERVER__ADMISSION__MAX_IN_FLIGHT": str(LIMIT),
        "CARTWRIGHT_SERVER__ADMISSION__MIN_IN_FLIGHT": str(LIMIT),
        "CARTWRIGHT_SERVER__ADMISSION__RETRY_AFTER_MS": "123",
        "CARTWRIGHT_SERVER__RUN_FILE": str(folder / "serve.json"),
    }
    with local_stack(overrides, folder) as running:
        yield running


class Callers:
    """Closed loops over one channel; counts every status."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._agent = commerce_pb2_grpc.AgentStub(channel)
        self.statuses: Counter[tuple[str, grpc.StatusCode]] = Counter()
        self.refusal_ms: list[float] = []
        self.retry_after: set[str] = set()
        self.stop = False

    async def call(self, method: str) -> grpc.StatusCode:
        began_s = time.perf_counter()
        try:
            if method == "Decide":
                request = pb.DecideRequest(text="I want to pay now", session_id="till")
                await self._agent.Decide(request, timeout=10.0)
            else:
                request = pb.RecommendRequest(session_id="browser", top_k=5)
                await self._agent.Recommend(request, timeout=10.0)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is EXHAUSTED:
                self.refusal_ms.append((time.perf_counter() - began_s) * 1000.0)
                trailing = dict(error.trailing_metadata() or ())
                self.retry_after.add(str(trailing.get(RETRY_AFTER_KEY)))
        else:
            code = grpc.StatusCode.OK
        self.statuses[method, code] += 1
        return code

    async def loop(self, method: str) -> None:
        while not self.stop:
            await self.call(method)


def metrics(port: int, prefix: str, tag: str = "") -> dict[str, float]:
    """Largest value of each metric with this beginning and tag, without the beginning."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith(prefix) and tag in line:
            name = line.split("{")[0].removeprefix(prefix)
            found[name] = max(found.get(name, 0.0), float(line.rsplit(" ", 1)[1]))
    return found


async def test_browsers_are_refused_and_the_till_stays_open(small_stack: LocalStack) -> None:
    run_file = read_run_file(small_stack.folder / "serve.json")
    assert run_file is not None
    async with grpc.aio.insecure_channel(small_stack.address) as channel:
        callers = Callers(channel)
        assert await callers.call("Decide") is grpc.StatusCode.OK
        loops = [asyncio.create_task(callers.loop("Recommend")) for _ in range(6 * LIMIT)]
        await until(lambda: len(callers.refusal_ms) > 50, 30.0)
        # With browsers alone at the door, a place is always left for whoever wants to pay.
        for _ in range(20):
            assert await callers.call("Decide") is grpc.StatusCode.OK
        shown: dict[str, float] = {}

        async def load_is_published() -> bool:
            shown.update(await asyncio.to_thread(metrics, run_file.metrics_port, "ray_cartwright_"))
            return shown.get("requests_in_flight", 0.0) > 0

        await until(load_is_published, 60.0)
        at_the_edge = metrics(run_file.edge_metrics_port, "haproxy_frontend_", "grpc_frontend")
        behind = metrics(run_file.edge_metrics_port, "haproxy_backend_", '"grpc-cartwright"')
        callers.stop = True
        await asyncio.gather(*loops)
        # As soon as the load is gone, nobody is refused any more.
        assert await callers.call("Recommend") is grpc.StatusCode.OK
    assert set(callers.statuses) == {
        ("Decide", grpc.StatusCode.OK),
        ("Recommend", grpc.StatusCode.OK),
        ("Recommend", EXHAUSTED),
    }
    assert callers.retry_after == {"123"}
    # Who was refused was so by HAProxy, before any replica heard of it; and nobody queues there.
    assert at_the_edge["intercepted_requests_total"] > 50
    assert behind["max_sessions"] <= LIMIT
    assert behind["max_queue"] == 0
    assert 0 < shown["requests_in_flight"] <= LIMIT
    assert shown["requests_in_flight_limit"] == LIMIT
    assert shown["model_calls_waiting"] <= LIMIT


async def test_grpc_calls_the_ingress_itself(small_stack: LocalStack) -> None:
    async with grpc.aio.insecure_channel(small_stack.address) as channel:
        agent = commerce_pb2_grpc.AgentStub(channel)
        call = agent.Understand(pb.UnderstandRequest(text="where is my order"), timeout=10.0)
        assert (await call).understanding.intent
        # Ray Serve's way would add its own.
        assert "request_id" not in dict(await call.trailing_metadata())

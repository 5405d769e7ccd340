"""Load up, more hosts and replicas; load gone, fewer; and not one request is lost on the way."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml
from click.testing import CliRunner
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.cli.local_stack import LocalStack, local_stack
from serving.cli.main import cartwright
from serving.client import AsyncCommerceClient
from serving.client.attempts import RetryPolicy
from serving.errors import CartwrightError
from serving.protos import commerce_pb2 as pb
from serving.triton.discovery import HostState
from tests.integration.conftest import BuiltModels
from tests.triton_bench import Bench, processes, shared_memory, stub_of
from tests.waiting import until

pytestmark = pytest.mark.integration

DEADLINE_MS = 10_000.0
BUSY, QUIET = 24, 1
# Generous: two cores are shared by the load, the stack and whatever else runs.
PATIENCE_S = 90.0
# Long ones: what they ask for must be felt at the models, whatever else the machine is short of.
TEXTS = tuple(
    f"{start}, and before you answer let me tell you the whole story: "
    + "it came late and broken, " * 3
    for start in ("where is my order 12345", "how long does delivery take", "do you have blue mugs")
)
# Little patience, and every decision in the log.
SETTINGS: dict[str, Any] = {
    # Nobody is sent away while help is on its way: a refusal would count as lost below.
    "server": {"admission": {"min_in_flight": 64}},
    "triton": {"max_hosts": 2},
    "deployments": {"agent": {"max_replicas": 2, "target_ongoing_requests": 8}},
    "scaling": {
        "period_s": 0.5,
        "target_queue_ms": 3.0,
        "target_pending": 2.0,
        "cool_down_up_s": 1,
        "cool_down_down_s": 3,
        "log_hold_period_s": 0,
    },
}
# Runs of the `slow` model's loop: some tenths of a second.
LONG = 300_000


# ---- a host that leaves --------------------------------------------------------------------------


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench.make(tmp_path)
    yield made
    await made.close()
    assert processes(tmp_path) == []
    assert shared_memory(os.getpid()) == []


def slow_request() -> Any:
    request = service_pb2.ModelInferRequest(model_name="slow.1")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    tensor.contents.fp32_contents.append(float(LONG))
    return request


async def test_a_host_tells_its_load_and_finishes_what_it_has_before_it_leaves(
    bench: Bench,
) -> None:
    host = bench.host()
    await host.start()
    assert await host.load() is None, "the first look has nothing to compare with"
    async with grpc.aio.insecure_channel(host.record.url) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [asyncio.ensure_future(stub.ModelInfer(slow_request())) for _ in range(4)]
        loads = []

        async def waiting() -> bool:
            load = await host.load()
            assert load is not None
            loads.append(load)
            return load.pending > 0

        await until(waiting, 20.0)
        leaving = asyncio.ensure_future(host.leave(patience_s=60.0))
        await until(lambda: host.record.state is HostState.DOWN)
        assert host.record.detail == "leaving"
        assert not all(call.done() for call in calls)
        replies = await asyncio.gather(*calls)
        await leaving
    assert all(reply.model_name == "slow.1" for reply in replies)
    assert bench.states() == [HostState.STARTING, HostState.READY, HostState.DOWN]
    assert [r.detail for r in bench.records if r.state is HostState.DOWN] == ["leaving", "stopped"]
    assert processes(bench.folder) == []
    await host.leave(patience_s=1.0)


async def test_a_host_that_may_not_wait_ends_all_the_same(bench: Bench) -> None:
    host = bench.host()
    await host.start()
    async with grpc.aio.insecure_channel(host.record.url) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = slow_request()
        request.inputs[0].contents.fp32_contents[0] = 100_000_000.0
        call = asyncio.ensure_future(stub.ModelInfer(request))
        runs = stub_of(host, "slow")
        before_s = runs.cpu_times().user
        await until(lambda: runs.cpu_times().user > before_s + 0.2, 20.0)
        await host.leave(patience_s=1.0)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert bench.records[-1].detail == "stopped"


# ---- the whole stack -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scaled(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with room to scale."""
    folder = tmp_path_factory.mktemp("scaling")
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    overrides = {
        **models.environment(),
        # Replicas leave while others are called.
        "CARTWRIGHT_SERVER__DRAIN_S": "2",
        "CARTWRIGHT_CONFIG": str(folder / "settings.yaml"),
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
    }
    with local_stack(overrides, folder) as running:
        yield running


class Load:
    """Callers that each wait for their reply before they ask again; each attempt is counted."""

    def __init__(self, client: AsyncCommerceClient) -> None:
        self._client = client
        self._tasks: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()

    def resize(self, callers: int) -> None:
        """Starts callers, or lets some end after their present call."""
        while len(self._tasks) < callers:
            self._tasks.append(asyncio.create_task(self._ask(len(self._tasks))))
        del self._tasks[callers:]

    async def _ask(self, index: int) -> None:
        number = 0
        while asyncio.current_task() in self._tasks:
            text = TEXTS[(index + number) % len(TEXTS)]
            number += 1
            try:
                reply = await self._client.understand(text, deadline_ms=DEADLINE_MS)
            except CartwrightError as error:
                self.outcomes[f"{error.code.name}: {error.message}"] += 1
            else:
                reasons = [f"degraded: {d.reason}" for d in reply.meta.degraded]
                self.outcomes[reasons[0] if reasons else "ok"] += 1


def agents(stack: LocalStack) -> int:
    """Processes of the ingress."""
    found = 0
    for process in stack.process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += ":Agent" in " ".join(process.cmdline())
    return found


def log_of(stack: LocalStack, deployment: str) -> Path:
    return stack.folder / "var" / "log" / "scaling" / f"{deployment}.jsonl"


def changes(path: Path) -> list[tuple[str, int, str]]:
    """What was done, the new number, why."""
    decisions = [json.loads(line)["decision"] for line in path.read_text().splitlines()]
    return [(d["action"], d["target"], d["reason"]) for d in decisions if d["action"] != "hold"]


async def test_replicas_follow_the_load_and_no_request_is_lost(scaled: LocalStack) -> None:
    once = RetryPolicy(max_attempts=1)
    async with AsyncCommerceClient(scaled.address, channels=4, retry=once) as client:

        async def ready_hosts() -> int:
            reply = await client.list_models(deadline_ms=DEADLINE_MS)
            return sum(host.state == pb.HOST_STATE_READY for host in reply.hosts)

        async def are(hosts: int, replicas: int) -> bool:
            return agents(scaled) == replicas and await ready_hosts() == hosts

        assert await are(1, 1)
        load = Load(client)
        load.resize(BUSY)
        try:
            await until(lambda: are(2, 2), PATIENCE_S)
            before = load.outcomes.total()
            # Long enough that the new ones have carried some of it.
            await until(lambda: load.outcomes.total() > before + 300, PATIENCE_S)
            load.resize(QUIET)
            await until(lambda: are(1, 1), PATIENCE_S)
            await until(lambda: len(scaled.tritonservers()) == 1, PATIENCE_S)
            done = load.outcomes.total()
            await until(lambda: load.outcomes.total() > done + 20, PATIENCE_S)
        finally:
            load.resize(0)
        assert set(load.outcomes) == {"ok"}, load.outcomes


@pytest.mark.parametrize("deployment", ["Agent", "ModelHost"])
def test_the_log_tells_why_and_replays_to_the_same(scaled: LocalStack, deployment: str) -> None:
    path = log_of(scaled, deployment)
    done = changes(path)
    assert done[0] == ("up", 2, "load")
    assert done[-1] == ("down", 1, "room")
    # A starved machine may show a dip or two, but nothing that goes to and fro.
    assert len(done) <= 6
    assert all(a[0] != b[0] for a, b in pairwise(done))
    arguments = ["--config", str(scaled.folder / "settings.yaml"), "--json"]
    replayed = CliRunner().invoke(cartwright, ["autoscale", "replay", str(path), *arguments])
    assert replayed.exit_code == 0, replayed.stderr
    moments = json.loads(replayed.stdout)["moments"]
    assert [
        (moment["action"], moment["to"], moment["reason"])
        for moment in moments
        if moment["action"] != "hold"
    ] == done

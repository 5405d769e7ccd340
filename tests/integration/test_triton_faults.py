"""Parts of a running host are killed or stopped; it has to come back without anyone's help."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import CartwrightError, ModelUnavailable
from serving.models.version import ModelVersion
from serving.triton.client import TritonModelClient
from serving.triton.discovery import HostDirectory, HostState
from serving.triton.host import TritonHost
from tests.one_version_each import OneVersionEach
from tests.triton_bench import Bench, processes, shared_memory, stub_of, until_record
from tests.waiting import until

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
X = {"x": np.array([[1.0, 2.0]], np.float32)}
# So many runs of the loop take longer than any test.
ENDLESS = {"x": np.full((1, 4), 1e9, np.float32)}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench.make(tmp_path)
    yield made
    await made.close()
    assert processes(tmp_path) == []
    assert shared_memory(os.getpid()) == []


@pytest.fixture
async def directory(bench: Bench) -> AsyncIterator[HostDirectory]:
    async with HostDirectory(bench.registry.changes) as following:
        yield following


@pytest.fixture
async def client(bench: Bench, directory: HostDirectory) -> AsyncIterator[OneVersionEach]:
    made = OneVersionEach(
        TritonModelClient(directory, rng=random.Random(5)), bench.manifests.values()
    )
    yield made
    await made.close()


def context(milliseconds: float = 5000.0) -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(milliseconds))


async def started(bench: Bench, *host_ids: str) -> list[TritonHost]:
    hosts = [bench.host(host_id) for host_id in host_ids or ("host-1",)]
    await asyncio.gather(*(host.start() for host in hosts))
    return hosts


def answers(client: OneVersionEach, model: str = "add") -> Callable[[], Awaitable[bool]]:
    """Whether the model can be asked now; any error but ModelUnavailable fails the test."""

    async def ask() -> bool:
        try:
            await client.infer(model, X, context())
        except ModelUnavailable:
            return False
        return True

    return ask


# ---- the server --------------------------------------------------------------------------------


async def test_a_killed_server_is_back_and_requests_fail_fast_meanwhile(
    bench: Bench, client: OneVersionEach
) -> None:
    (host,) = await started(bench)
    await until(answers(client))
    pid = host.record.pid
    busy = asyncio.create_task(client.infer("slow", ENDLESS, context(60_000.0)))
    await client.infer("add", X, context())

    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelUnavailable):
        await busy
    assert time.monotonic() - killed_s < 2.0
    waits_s = []
    while True:
        began_s = time.monotonic()
        back = await answers(client)()
        if back:
            break
        waits_s.append(time.monotonic() - began_s)
        await asyncio.sleep(0.01)
    assert time.monotonic() - killed_s < 15.0
    assert max(waits_s) < 1.0

    record = host.record
    assert record.state is HostState.READY
    assert record.restarts == 1
    assert record.pid != pid
    ready, down, *_ = [r for r in bench.records if r.pid == pid or r.state is HostState.DOWN]
    assert ready.state is HostState.READY
    assert down.detail == f"tritonserver (pid {pid}) was ended by SIGKILL"
    assert bench.states()[-4:] == [
        HostState.READY,
        HostState.DOWN,
        HostState.STARTING,
        HostState.READY,
    ]


async def test_a_server_that_hangs_is_replaced(bench: Bench, client: OneVersionEach) -> None:
    (host,) = await started(bench)
    await until(answers(client))
    pid = host.record.pid
    os.kill(pid, signal.SIGSTOP)
    await until_record(host, lambda r: r.restarts == 1 and r.state is HostState.READY)
    assert not psutil.pid_exists(pid)
    details = [record.detail for record in bench.records if record.state is HostState.DOWN]
    assert details[0].startswith("does not answer: ")
    assert details[1].startswith(f"tritonserver (pid {pid}) hangs and is killed: ")
    await until(answers(client))


async def test_a_pause_is_no_reason_to_be_killed(bench: Bench, client: OneVersionEach) -> None:
    """Stopped until it counts as down, then continued before its time is over."""
    (host,) = await started(bench)
    pid = host.record.pid
    os.kill(pid, signal.SIGSTOP)
    await until_record(host, lambda record: record.state is HostState.DOWN)
    os.kill(pid, signal.SIGCONT)
    await until_record(host, lambda record: record.state is HostState.READY)
    assert host.record.pid == pid
    assert host.record.restarts == 0
    await until(answers(client))


async def test_restarts_in_a_row_are_spaced_out(bench: Bench) -> None:
    (host,) = await started(bench)
    times_s = []
    for _ in range(4):
        os.kill(host.record.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        restarts = host.record.restarts
        await until_record(host, lambda record, n=restarts: record.restarts > n)  # type: ignore[misc]
        times_s.append(time.monotonic() - killed_s)
        await until_record(host, lambda record: record.state is HostState.READY)
    # Pauses of 0, 0.05, 0.1 and 0.2 s.
    assert times_s[3] >= 0.2
    assert times_s[0] < 1.0


# ---- its stubs and its tether ------------------------------------------------------------------


async def test_a_killed_stub_costs_its_model_alone(bench: Bench, client: OneVersionEach) -> None:
    """Triton itself would call the model ready and fail every request for it."""
    (host,) = await started(bench)
    await until(answers(client))
    pid = host.record.pid
    stub_of(host, "add").kill()
    # Triton needs a second to find out; by then the model is back, and the second try succeeds.
    lost = asyncio.create_task(client.infer("add", X, context()))
    while not lost.done():
        await client.infer("slow", X, context())
    assert (await lost).floats("y").tolist() == [[2.0, 4.0]]
    await until(answers(client))
    assert host.record.pid == pid
    assert host.record.restarts == 0
    assert dict(host.record.ready_models) == {"add": (1,), "slow": (1,)}


async def test_a_killed_tether_takes_the_server_along(bench: Bench, client: OneVersionEach) -> None:
    (host,) = await started(bench)
    busy = asyncio.create_task(client.infer("slow", ENDLESS, context(60_000.0)))
    await until(answers(client))
    server = psutil.Process(host.record.pid)
    stubs = server.children()
    tether = server.parent()
    assert tether is not None
    tether.kill()
    with pytest.raises(ModelUnavailable):
        await busy
    await until_record(host, lambda record: record.restarts == 1 and record.pid > 0)
    await until(lambda: not any(process.is_running() for process in [server, *stubs]))
    await until(answers(client))


async def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """Not even a stub that is at work, nor its shared memory."""
    code = """
        import asyncio, sys
        from pathlib import Path
        import numpy as np
        from serving.context import RequestContext
        from serving.deadline import Deadline
        from serving.models.version import ModelVersion
        from serving.triton.client import TritonModelClient
        from serving.triton.discovery import HostDirectory
        from tests.one_version_each import OneVersionEach
        from tests.triton_bench import Bench

        async def main() -> None:
            bench = Bench.make(Path(sys.argv[1]))
            host = bench.host()
            await host.start()
            async with HostDirectory(bench.registry.changes) as directory:
                slow = ModelVersion("slow", 1)
                await directory.wait_until(lambda _: bool(directory.hosts_with(slow)), 10.0)
                client = OneVersionEach(TritonModelClient(directory), bench.manifests.values())
                endless = {"x": np.full((1, 4), 1e9, np.float32)}
                context = RequestContext(deadline=Deadline.after_ms(60_000.0))
                busy = asyncio.create_task(client.infer("slow", endless, context))
                one = {"x": np.ones((1, 1), np.float32)}
                await client.infer("add", one, RequestContext(deadline=Deadline.after_ms(5000.0)))
                print(host.record.pid, flush=True)
                await busy

        asyncio.run(main())
    """
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(code),
        str(tmp_path),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    pid = int(await asyncio.wait_for(supervisor.stdout.readline(), 30.0))
    family = [psutil.Process(pid), *psutil.Process(pid).children()]
    assert len(family) == 3
    assert shared_memory(supervisor.pid)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not any(process.is_running() for process in family))
    await until(lambda: processes(tmp_path) == [] and shared_memory(supervisor.pid) == [])


# ---- models ------------------------------------------------------------------------------------


async def test_a_model_that_broke_does_not_keep_the_others_from_coming_back(
    bench: Bench, client: OneVersionEach
) -> None:
    (host,) = await started(bench)
    path = bench.folder / "models" / "slow" / "1" / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(b"overwritten")
    os.kill(host.record.pid, signal.SIGKILL)
    record = await until_record(host, lambda r: r.restarts == 1 and r.state is HostState.READY)
    assert dict(record.ready_models) == {"add": (1,)}
    assert f"{path}: corrupt" in record.detail
    await until(answers(client))
    with pytest.raises(
        ModelUnavailable, match=r"slow is not ready on any host: version 1 \(host-1: ready\)"
    ):
        await client.infer("slow", X, context())
    assert host.failure() is None
    # Mended, it is taken up without a restart.
    path.write_bytes(content)
    await until_record(host, lambda r: "slow" in r.ready_models)
    assert host.record.restarts == 1
    assert host.record.detail == ""
    await until(answers(client, "slow"))


# ---- two hosts ---------------------------------------------------------------------------------


async def test_with_two_hosts_the_death_of_one_fails_no_request(
    bench: Bench, directory: HostDirectory, client: OneVersionEach
) -> None:
    first, second = await started(bench, "host-1", "host-2")
    await until(lambda: len(directory.hosts_with(ModelVersion("add", 1))) == 2)
    errors: list[CartwrightError] = []
    done = 0

    async def customer() -> None:
        nonlocal done
        while not finished.is_set():
            try:
                await client.infer("add", X, context())
                done += 1
            except CartwrightError as error:
                errors.append(error)

    finished = asyncio.Event()
    customers = [asyncio.create_task(customer()) for _ in range(8)]

    async def both_work() -> bool:
        return min([await _served(host) for host in (first, second)]) > 50

    try:
        await until(both_work)
        os.kill(first.record.pid, signal.SIGKILL)
        await until_record(first, lambda r: r.restarts == 1 and r.state is HostState.READY)
        at_return = done
        await until(lambda: done > at_return + 200)
    finally:
        finished.set()
        await asyncio.gather(*customers)
    assert errors == []
    # The one that is back takes part again.
    assert await _served(first) > 0


async def _served(host: TritonHost) -> int:
    """Requests for `add` that the server answered."""
    async with grpc.aio.insecure_channel(host.record.url) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        statistics = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="add.1"))
    return int(statistics.model_stats[0].inference_count)

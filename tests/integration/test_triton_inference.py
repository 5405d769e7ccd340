"""Requests to a real tritonserver; one host for the whole module."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
)
from serving.settings import TritonSettings
from serving.triton.client import TritonModelClient
from serving.triton.command import free_ports
from serving.triton.discovery import HostDirectory, StaticHosts
from serving.triton.errors import HostLost
from serving.triton.installation import prepare_installation
from serving.triton.server import Server
from tests.hosted import ONES, Served, context, hosted, raw
from tests.one_version_each import OneVersionEach
from tests.tiny_models import manifest, publish_tiny_models
from tests.triton_bench import stub_of
from tests.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.untimed,
    pytest.mark.asyncio(loop_scope="module"),
]

# Runs of the `slow` model's loop: some tenths of a second, next to nothing, and minutes.
LONG, SHORT, ENDLESS = 300_000, 10, 100_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("triton")
    async with hosted(folder, ("add", "slow", "patient", "gather")) as host:
        yield host


def loops(times: int) -> dict[str, NDArray[Any]]:
    """Input of `slow` and `patient`."""
    return {"x": np.full((1, 4), times, np.float32)}


# ---- answers -----------------------------------------------------------------------------------


async def test_start_tells_what_serves(served: Served) -> None:
    record = served.host.record
    assert dict(record.ready_models) == dict.fromkeys(("add", "slow", "patient", "gather"), (1,))
    assert record.detail == ""
    assert (await served.control.server_name(5.0)).startswith("host-1-")


async def test_answers_are_those_of_the_model_whatever_is_joined(served: Served) -> None:
    """Many requests at once, of different shapes: each gets its own rows back."""
    rng = np.random.default_rng(3)
    batches = [
        rng.normal(size=(rng.integers(1, 5), rng.integers(1, 4))).astype(np.float32)
        for _ in range(300)
    ]
    before = await served.statistics("add")
    outputs = await asyncio.gather(
        *(served.client.infer("add", {"x": batch}, context()) for batch in batches)
    )
    for batch, output in zip(batches, outputs, strict=True):
        assert np.array_equal(output.floats("y"), batch + batch)
    rows = sum(len(batch) for batch in batches)

    # Triton counts after it has answered.
    async def counted() -> bool:
        now = await served.statistics("add")
        return bool(now.inference_count - before.inference_count == rows)

    await until(counted)
    # Requests were joined: several rows, and several requests, an execution.
    after = await served.statistics("add")
    assert after.execution_count - before.execution_count < len(batches) * 0.8


async def test_a_burst_waits_for_the_model_alone(served: Served) -> None:
    """With a queue policy, Triton's batcher sleeps half a second in most bursts like these."""
    slow_bursts = 0
    for _ in range(30):
        began_s = time.monotonic()
        await asyncio.gather(
            *(served.client.infer("patient", loops(SHORT), context()) for _ in range(4))
        )
        slow_bursts += time.monotonic() - began_s > 0.4
    assert slow_bursts <= 3


async def test_one_bad_request_does_not_spoil_its_batch(served: Served) -> None:
    values = [index % 5 for index in range(60)]  # 4 is beyond the table
    outcomes = await asyncio.gather(
        *(
            served.client.infer("gather", {"x": np.full((1, 2), value, np.int64)}, context())
            for value in values
        ),
        return_exceptions=True,
    )
    for value, outcome in zip(values, outcomes, strict=True):
        if value == 4:
            assert isinstance(outcome, ModelContractViolated)
            assert "out of data bounds" in outcome.message
        else:
            assert not isinstance(outcome, BaseException)
            assert outcome.floats("y").tolist() == [[value + 1.0, value + 1.0]]


# ---- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "kind", "text"),
    [
        (raw("nope", ONES), HostLost, "unknown model: 'nope.1' is not found"),
        (raw("add", ONES, version="7"), HostLost, "'add.1' version 7 is not found"),
        (raw("add", ONES, name="q"), ModelContractViolated, "unexpected inference input 'q'"),
        (raw("add", ONES, dtype="INT64"), ModelContractViolated, "data-type is 'INT64'"),
        (raw("add", ONES[0]), ModelContractViolated, "unexpected shape for input 'x'"),
        (raw("add", np.ones((9, 1), np.float32)), ModelContractViolated, "must be <= 8"),
        (raw("add", ONES, version="x"), ModelContractViolated, "version string 'x'"),
    ],
    ids=["model", "version", "input", "dtype", "rank", "batch", "version-text"],
)
async def test_what_triton_refuses_keeps_its_meaning(
    served: Served, request_: Any, kind: type[CartwrightError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        await served.connection.infer(request_, 1, context())
    assert text in caught.value.message


async def test_a_model_that_no_host_has_is_refused_here(served: Served) -> None:
    with pytest.raises(ModelUnavailable, match=r"missing is not ready .*\(host-1: ready\)"):
        await served.client.infer("missing", {"x": ONES}, context())


async def test_a_full_queue_sheds_at_once(served: Served) -> None:
    """Five may wait, beside those that run; the others hear of it while the first still runs."""
    first = await _begin(served)
    refused: list[Overloaded] = []

    async def ask() -> None:
        try:
            await served.client.infer("slow", loops(SHORT), context())
        except Overloaded as error:
            refused.append(error)

    others = [asyncio.create_task(ask()) for _ in range(20)]
    await until(lambda: len(refused) >= 10)
    assert not first.done()
    assert all("Exceeds maximum queue size" in error.message for error in refused)
    await asyncio.gather(first, *others)
    assert len(refused) < 20


async def test_a_request_that_waits_too_long_is_refused_by_triton(served: Served) -> None:
    """Triton's own timeout, far below that of the call."""
    first = await _begin(served)

    async def ask() -> Any:
        request = raw("slow", loops(SHORT)["x"])
        request.parameters["timeout"].int64_param = 1_000
        return await served.stub.ModelInfer(request, timeout=20.0)

    outcomes = await asyncio.gather(*(ask() for _ in range(4)), return_exceptions=True)
    await first
    texts = {outcome.details() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)}
    assert texts == {"Request timeout expired"}


async def test_without_time_nothing_is_sent(served: Served) -> None:
    before = await served.statistics("add")
    with pytest.raises(DeadlineExceeded, match="no time left"):
        await served.client.infer("add", {"x": ONES}, context(-1.0))
    assert (await served.statistics("add")).inference_count == before.inference_count


@pytest.mark.parametrize("model", ["slow", "patient"])
async def test_a_deadline_ends_the_wait_and_the_work(served: Served, model: str) -> None:
    """The request is dropped from the queue when its deadline passes: it is never executed."""
    first = await _begin(served, model)
    outcomes = await asyncio.gather(
        *(served.client.infer(model, loops(ENDLESS), context(30.0)) for _ in range(3)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3
    assert not first.done()
    await first
    await _answers_next(served, model)


@pytest.mark.parametrize("model", ["slow", "patient"])
async def test_a_cancelled_request_costs_no_execution(served: Served, model: str) -> None:
    first = await _begin(served, model)
    waiting = [
        asyncio.create_task(served.client.infer(model, loops(ENDLESS), context())) for _ in range(3)
    ]

    async def all_wait() -> bool:
        return await served.pending(model) >= len(waiting)

    await until(all_wait)
    for task in waiting:
        task.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert not first.done()
    assert served.client.in_flight("host-1") == 1
    await first
    await _answers_next(served, model)


async def _answers_next(served: Served, model: str) -> None:
    """One more request, behind all others, is answered long before those could be computed."""
    await served.client.infer(model, loops(SHORT), context(10_000.0))


async def _begin(served: Served, model: str = "slow") -> asyncio.Task[Any]:
    """Starts a long request and returns once it is being computed: later ones wait behind it."""
    stub = stub_of(served.host, model)
    idle_s = stub.cpu_times().user
    task = asyncio.create_task(served.client.infer(model, loops(LONG), context()))
    await until(lambda: stub.cpu_times().user - idle_s >= 0.02)
    assert not task.done()
    return task


# ---- supervision of models ---------------------------------------------------------------------


async def test_a_model_that_got_lost_is_loaded_again(served: Served) -> None:
    await served.control.unload("gather.1", 10.0)
    request = raw("gather", np.zeros((1, 1), np.int64), dtype="INT64")
    with pytest.raises(HostLost, match="has no available versions"):
        await served.connection.infer(request, 1, context())

    async def answers() -> bool:
        try:
            await served.client.infer("gather", {"x": np.zeros((1, 1), np.int64)}, context())
        except ModelUnavailable:
            return False
        return True

    await until(answers)
    assert served.host.record.restarts == 0


# ---- around the host ---------------------------------------------------------------------------


async def test_a_host_given_by_its_url_is_found_and_used(tmp_path: Path) -> None:
    """A tritonserver over a plain repository, where a model is called by its own name."""
    publish_tiny_models(tmp_path / "models")
    server = await Server.launch(
        installation=prepare_installation(TritonSettings(cache_folder=tmp_path / "cache")),
        repository=tmp_path / "models",
        host_id="theirs",
        log=tmp_path / "log" / "theirs.log",
        telemetry=None,
        ports=free_ports(),
    )
    try:
        await server.control.load("add", 60.0)
        nobody = "127.0.0.1:9"
        async with (
            StaticHosts((server.url, nobody), probe_period_s=0.1) as hosts,
            HostDirectory(hosts.changes) as directory,
        ):
            wanted = {server.url: "ready", nobody: "down"}
            await directory.wait_until(
                lambda records: {r.host_id: r.state for r in records} == wanted, 10.0
            )
            client = OneVersionEach(
                TritonModelClient(directory, rng=random.Random(1)), [manifest("add")]
            )
            output = await client.infer("add", {"x": ONES}, context())
            assert output.floats("y").tolist() == [[2.0] * 4]
            await client.close()
    finally:
        await server.discard()

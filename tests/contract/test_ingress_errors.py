"""Every error of the tree over a real connection: code, text, trailing metadata."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import errors
from serving.edge.haproxy import LIMIT_HEADER
from serving.errors import ERROR_ID_KEY, RETRY_AFTER_KEY
from serving.ingress.agent import Ingress
from serving.ingress.health import Health
from serving.ingress.models import ModelsView
from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc
from serving.settings import Settings
from serving.types import Understanding
from tests.ingress_server import no_admin, serving_ingress

pytestmark = pytest.mark.contract

AGENT = "/cartwright.v1.Agent"


@dataclass
class _Understanding:
    """Stands where the pipeline stands: raises, waits or answers."""

    error: Exception | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, text: str, _context: Any) -> Understanding:
        self.entered.release()
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error
        return Understanding(intent=text[:20], intent_confidence=1.0)


@dataclass
class _Pipelines:
    understand: _Understanding = field(default_factory=_Understanding)

    def __getattr__(self, name: str) -> Any:
        async def unused(*_arguments: Any) -> Any:
            raise AssertionError(f"{name} was not expected to be called")

        return unused


@dataclass
class Served:
    """A served ingress with its scripted pipeline."""

    pipelines: _Pipelines
    channel: grpc.aio.Channel
    agent: Any
    ready: dict[str, int]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings.model_validate(
        {"server": {"admission": {"max_in_flight": 2, "min_in_flight": 2}}}
    )
    pipelines = _Pipelines()
    ready = dict.fromkeys(settings.triton.models, 1)
    ingress = Ingress(
        settings,
        pipelines,  # type: ignore[arg-type]
        ModelsView(dict, dict, list, lambda _host: 0),
        Health(settings.triton.models, lambda model: ready[model] > 0),
        no_admin(tmp_path),
    )
    async with (
        serving_ingress(ingress) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Served(pipelines, channel, commerce_pb2_grpc.AgentStub(channel), ready)


async def understand(served: Served, text: str = "hello", **metadata: str) -> Any:
    pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    return await served.agent.Understand(
        pb.UnderstandRequest(text=text), timeout=10, metadata=pairs
    )


def every_error() -> list[type[errors.CartwrightError]]:
    """All classes of the tree that a request can end in."""
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CartwrightError) and kind is not errors.StartupError
    ]


def made(kind: type[errors.CartwrightError]) -> errors.CartwrightError:
    if kind is errors.InvalidRequest:
        return errors.InvalidRequest("text", "is not to our liking")
    if kind is errors.Overloaded:
        return errors.Overloaded("too much", 77)
    return kind(f"what happened in {kind.__name__}")


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
async def test_every_error_class_arrives_with_its_code(
    served: Served, kind: type[errors.CartwrightError]
) -> None:
    error = made(kind)
    served.pipelines.understand.error = error
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served)
    assert caught.value.code() is kind.code
    trailing = dict(caught.value.trailing_metadata() or ())
    details = caught.value.details() or ""
    if issubclass(kind, errors.Internal):
        assert "what happened" not in details
        assert trailing[ERROR_ID_KEY] in details
    else:
        assert details == error.message
    assert (RETRY_AFTER_KEY in trailing) is (kind is errors.Overloaded)


async def test_an_unknown_exception_is_neutral_and_logged_with_its_id(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.pipelines.understand.error = ZeroDivisionError("secret of the house")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")
    error_id = dict(caught.value.trailing_metadata() or ())[ERROR_ID_KEY]
    assert any(error_id in record.getMessage() for record in caplog.records)
    assert "secret of the house" in caplog.text


async def test_invalid_utf8_names_the_request(served: Served) -> None:
    call = served.channel.unary_unary(f"{AGENT}/Understand")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\x0a\x02\xff\xfe", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in (caught.value.details() or "")


async def test_invalid_utf8_is_refused_by_the_health_watch_too(served: Served) -> None:
    watch = served.channel.unary_stream("/grpc.health.v1.Health/Watch")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch(b"\x0a\x02\xff\xfe", timeout=10).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in (caught.value.details() or "")


async def test_truncated_bytes_are_refused(served: Served) -> None:
    call = served.channel.unary_unary(f"{AGENT}/Converse")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\x0a\x7f", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), (" \n\t ", "empty"), ("x" * 100_000, "100000 characters")],
    ids=["empty", "blank", "100 kB"],
)
async def test_unusable_text_names_the_field(served: Served, text: str, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served, text)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith("text: ")
    assert reason in (caught.value.details() or "")


@pytest.mark.parametrize("value", ["-5", "0", "nan", "inf", "soon", "1e12"])
async def test_an_unusable_deadline_names_its_key(served: Served, value: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served, cartwright_deadline_ms=value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith("cartwright-deadline-ms: ")


async def test_a_passed_deadline_ends_the_work(served: Served) -> None:
    served.pipelines.understand.gate = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served, cartwright_deadline_ms="20")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.pipelines.understand.cancelled.is_set()


async def test_a_caller_that_goes_away_ends_the_work(served: Served) -> None:
    served.pipelines.understand.gate = asyncio.Event()
    call = served.agent.Understand(pb.UnderstandRequest(text="hello"), timeout=10)
    await asyncio.wait_for(served.pipelines.understand.entered.acquire(), 5)
    call.cancel()
    await asyncio.wait_for(served.pipelines.understand.cancelled.wait(), 5)


async def test_beyond_the_limit_calls_are_refused_at_once_with_a_retry_after(
    served: Served,
) -> None:
    gate = asyncio.Event()
    served.pipelines.understand.gate = gate
    admitted = [asyncio.ensure_future(understand(served, f"call {i}")) for i in range(2)]
    for _ in admitted:
        await asyncio.wait_for(served.pipelines.understand.entered.acquire(), 5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await understand(served)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(caught.value.trailing_metadata() or ())[RETRY_AFTER_KEY]) > 0
    health = health_pb2_grpc.HealthStub(served.channel)
    answered = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answered.status == health_pb2.HealthCheckResponse.SERVING
    gate.set()
    replies = await asyncio.gather(*admitted)
    assert [reply.understanding.intent for reply in replies] == ["call 0", "call 1"]
    assert (await understand(served, "again")).understanding.intent == "again"


@pytest.mark.parametrize("error", [None, errors.DeadlineExceeded("late")], ids=["well", "failed"])
async def test_the_edge_is_told_the_limit_whatever_became_of_the_call(
    served: Served, error: Exception | None
) -> None:
    served.pipelines.understand.error = error
    expected = grpc.StatusCode.OK if error is None else grpc.StatusCode.DEADLINE_EXCEEDED
    told = []
    for _ in range(2):
        call = served.agent.Understand(pb.UnderstandRequest(text="hello"), timeout=10)
        assert await call.code() is expected
        told.append(dict(await call.initial_metadata()).get(LIMIT_HEADER))
    # Once; then again when it moves or a second later.
    assert told == ["2", None]


async def test_a_wrong_service_or_method_is_unimplemented(served: Served) -> None:
    for path in ("/cartwright.v1.Nobody/Understand", f"{AGENT}/Nothing"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.channel.unary_unary(path)(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_follows_the_models(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    response = health_pb2.HealthCheckResponse

    async def check(service: str) -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health.Check(request, timeout=10)).status)

    assert await check("") == response.SERVING
    served.ready["ranker"] = 0
    assert await check("") == response.NOT_SERVING
    assert await check("cartwright.v1.Agent") == response.NOT_SERVING
    assert await check("cartwright.v1.Events") == response.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check("cartwright.v1.Nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_watch_tells_every_change(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    call = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=20)
    stream = aiter(call)
    assert (await anext(stream)).status == health_pb2.HealthCheckResponse.SERVING
    served.ready["ranker"] = 0
    assert (await anext(stream)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    call.cancel()

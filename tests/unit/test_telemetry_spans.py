"""Spans of a request: their parents, what is recorded, and that untraced requests make none."""

import asyncio
import pickle
import re
from collections.abc import AsyncGenerator, Iterator, Sequence

import grpc
import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from serving.context import RequestContext, observe_step
from serving.deadline import Deadline
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    Overloaded,
)
from serving.settings import TelemetrySettings
from serving.telemetry import setup
from serving.telemetry.setup import configure_tracing, install, shutdown_tracing
from serving.telemetry.spans import (
    call_span,
    client_span,
    new_trace_id,
    outgoing_metadata,
    remote_parent,
    server_span,
)
from serving.telemetry.tracer import active_tracing, status_of

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER_ID = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-00"}
AGENT = "cartwright.v1.Agent"
TRITON = "inference.GRPCInferenceService"


class Counting(Sampler):
    """Samples all, and counts how many spans were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def should_sample(self, *args: object, **kwargs: object) -> SamplingResult:
        self.asked += 1
        return ALWAYS_ON.should_sample(*args, **kwargs)  # type: ignore[arg-type]

    def get_description(self) -> str:
        return "counting"


class Tracing:
    """Tracing into memory."""

    def __init__(self, sample_ratio: float) -> None:
        self.sampler = Counting()
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=self.sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        install(provider, sample_ratio=sample_ratio)

    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans() if span.name == name]
        return found


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    yield Tracing(sample_ratio=0.0)
    shutdown_tracing()


@pytest.fixture
def tracing_all() -> Iterator[Tracing]:
    yield Tracing(sample_ratio=1.0)
    shutdown_tracing()


def request(trace_id: str = TRACE_ID, span_context: Context | None = None) -> RequestContext:
    return RequestContext(
        deadline=Deadline.after_ms(1000), trace_id=trace_id, span_context=span_context
    )


def parent_id(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def own_id(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


# ---- parenthood ---------------------------------------------------------------------------------


def test_every_span_stands_below_the_one_that_opened_it(tracing: Tracing) -> None:
    with server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context):
        context = request(trace_id, span_context)
        with (
            observe_step(context, "answer") as in_answer,
            observe_step(in_answer, "retrieve") as in_retrieve,
            client_span(in_retrieve, TRITON, "ModelInfer", {"rows": 3}) as metadata,
        ):
            pass
        with observe_step(context, "decide"):
            pass
    server = tracing.span(f"{AGENT}/Converse")
    answer, retrieve = tracing.span("step answer"), tracing.span("step retrieve")
    decide, call = tracing.span("step decide"), tracing.span(f"{TRITON}/ModelInfer")
    assert trace_id == TRACE_ID
    assert {f"{span.context.trace_id:032x}" for span in tracing.spans()} == {TRACE_ID}
    assert parent_id(server) == CALLER_ID
    assert parent_id(answer) == own_id(server)
    assert parent_id(retrieve) == own_id(answer)
    assert parent_id(decide) == own_id(server)
    assert parent_id(call) == own_id(retrieve)
    assert dict(metadata)["traceparent"] == f"00-{TRACE_ID}-{own_id(call)}-01"
    assert [server.kind, answer.kind, call.kind] == [
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert server.parent is not None
    assert server.parent.is_remote
    assert [timing.step for timing in context.timings] == ["retrieve", "answer", "decide"]


async def test_steps_side_by_side_keep_their_own_parents(tracing: Tracing) -> None:
    meet = asyncio.Barrier(2)

    async def step(context: RequestContext, name: str) -> None:
        with observe_step(context, name) as below:
            await meet.wait()
            with client_span(below, TRITON, name):
                await meet.wait()

    with server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context):
        context = request(trace_id, span_context)
        await asyncio.gather(step(context, "answer"), step(context, "recommend"))
    for name in ("answer", "recommend"):
        below = tracing.span(f"step {name}")
        assert parent_id(tracing.span(f"{TRITON}/{name}")) == own_id(below)
        assert parent_id(below) == own_id(tracing.span(f"{AGENT}/Converse"))


def test_another_process_continues_the_trace(tracing: Tracing) -> None:
    with server_span(AGENT, "Understand", SAMPLED) as (trace_id, span_context):
        with client_span(request(trace_id, span_context), "step", "understand") as metadata:
            # Over a process boundary: plain strings.
            carried = pickle.loads(pickle.dumps(dict(metadata)))
        remote_trace_id, remote = remote_parent(carried)
        assert remote is not None
        with observe_step(request(remote_trace_id, remote), "understand"):
            pass
    assert remote_trace_id == TRACE_ID
    assert parent_id(tracing.span("step understand")) == own_id(tracing.span("step/understand"))


def test_trace_state_of_the_caller_is_passed_on(tracing: Tracing) -> None:
    metadata = {**SAMPLED, "tracestate": "shop=a1"}
    with (
        server_span(AGENT, "Understand", metadata) as (trace_id, span_context),
        client_span(request(trace_id, span_context), TRITON, "ModelInfer") as sent,
    ):
        assert dict(sent)["tracestate"] == "shop=a1"


def test_root_call_starts_a_trace(tracing: Tracing) -> None:
    with call_span(AGENT, "Converse", Context()) as context:
        (key, value), *_ = outgoing_metadata(context)
    span = tracing.span(f"{AGENT}/Converse")
    assert span.parent is None
    assert (key, value.split("-")[2]) == ("traceparent", own_id(span))


# ---- untraced requests --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [{}, UNSAMPLED, {"traceparent": ""}, {"traceparent": "00-zz-1-01"}],
    ids=["no trace context", "unsampled", "empty", "malformed"],
)
def test_untraced_request_makes_no_span_and_has_a_trace_id(
    metadata: dict[str, str], tracing: Tracing
) -> None:
    with server_span(AGENT, "Converse", metadata) as (trace_id, span_context):
        context = request(trace_id, span_context)
        with observe_step(context, "answer") as below, client_span(below, TRITON, "x") as sent:
            assert below is context
            assert sent == ()
    assert span_context is None
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    assert (trace_id == TRACE_ID) is (metadata is UNSAMPLED)
    assert tracing.sampler.asked == 0
    assert [timing.step for timing in context.timings] == ["answer"]


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-{CALLER_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{CALLER_ID}-01",
        f"00-{TRACE_ID}-{CALLER_ID}",
    ],
)
def test_invalid_trace_context_counts_as_none(traceparent: str, tracing: Tracing) -> None:
    with server_span(AGENT, "Converse", {"traceparent": traceparent}) as (trace_id, span_context):
        assert span_context is None
        assert trace_id != TRACE_ID
    assert tracing.sampler.asked == 0


def test_requests_without_context_are_sampled_by_the_ratio(tracing_all: Tracing) -> None:
    with server_span(AGENT, "Converse", {}) as (trace_id, span_context):
        assert span_context is not None
    span = tracing_all.span(f"{AGENT}/Converse")
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" == trace_id


def test_ratio_does_not_overrule_the_caller(tracing_all: Tracing) -> None:
    with server_span(AGENT, "Converse", UNSAMPLED) as (trace_id, span_context):
        assert (trace_id, span_context) == (TRACE_ID, None)
    assert tracing_all.sampler.asked == 0


def test_a_share_of_the_requests_is_sampled() -> None:
    tracing = Tracing(sample_ratio=0.25)
    try:
        for _ in range(2000):
            with server_span(AGENT, "Converse", {}):
                pass
    finally:
        shutdown_tracing()
    # 2000 draws: 0.25 +- 0.0097; eight deviations are allowed.
    assert 0.17 < len(tracing.spans()) / 2000 < 0.33
    assert tracing.sampler.asked == len(tracing.spans())


def test_without_tracing_a_sampled_request_keeps_its_trace_id() -> None:
    assert active_tracing() is None
    with server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context):
        assert (trace_id, span_context) == (TRACE_ID, None)
    with call_span(AGENT, "Converse", Context()) as context:
        assert context is None
        assert outgoing_metadata(context) == ()


def test_tracing_that_is_switched_off_midway_ends_quietly(tracing: Tracing) -> None:
    with server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context):
        shutdown_tracing()
        context = request(trace_id, span_context)
        with observe_step(context, "answer") as below, client_span(below, TRITON, "x") as sent:
            assert below is context
            assert sent == ()


def test_trace_ids_differ() -> None:
    assert len({new_trace_id() for _ in range(1000)}) == 1000


# ---- what is recorded ---------------------------------------------------------------------------


def test_calls_are_described_by_the_conventions_for_rpc(tracing: Tracing) -> None:
    with (
        server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context),
        client_span(request(trace_id, span_context), TRITON, "ModelInfer", {"server.port": 8001}),
    ):
        pass
    assert dict(tracing.span(f"{AGENT}/Converse").attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "cartwright.v1.Agent/Converse",
        "rpc.response.status_code": "OK",
    }
    call = dict(tracing.span(f"{TRITON}/ModelInfer").attributes or {})
    assert call["server.port"] == 8001
    assert call["rpc.response.status_code"] == "OK"


@pytest.mark.parametrize(
    ("error", "code", "is_server_fault"),
    [
        (InvalidRequest("text", "is empty"), "INVALID_ARGUMENT", False),
        (NotFound("no such model"), "NOT_FOUND", False),
        (Overloaded("full"), "RESOURCE_EXHAUSTED", False),
        (ModelUnavailable("encoder"), "UNAVAILABLE", True),
        (DeadlineExceeded("late"), "DEADLINE_EXCEEDED", True),
        (Internal("oh"), "INTERNAL", True),
        (KeyError("x"), "INTERNAL", True),
        (asyncio.CancelledError(), "CANCELLED", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_errors_give_spans_their_status(
    error: BaseException, code: str, is_server_fault: bool, tracing: Tracing
) -> None:
    with (
        pytest.raises(type(error)),
        server_span(AGENT, "Converse", SAMPLED) as (trace_id, span_context),
        observe_step(request(trace_id, span_context), "answer") as below,
        client_span(below, TRITON, "ModelInfer"),
    ):
        raise error
    server, call = tracing.span(f"{AGENT}/Converse"), tracing.span(f"{TRITON}/ModelInfer")
    assert (server.attributes or {})["rpc.response.status_code"] == code
    assert (call.attributes or {})["rpc.response.status_code"] == code
    # A caller's mistake is no error of the server, but every failed call is one for its client.
    assert (server.status.status_code is StatusCode.ERROR) is is_server_fault
    assert call.status.status_code is StatusCode.ERROR
    step = tracing.span("step answer")
    assert step.status.status_code is StatusCode.ERROR
    assert (step.attributes or {})["error.type"] == code
    assert status_of(error).name == code


def test_words_of_unknown_errors_stay_out_of_spans(tracing: Tracing) -> None:
    with pytest.raises(ValueError), server_span(AGENT, "Converse", SAMPLED):
        raise ValueError("jane@example.com said: my card is 4111 1111 1111 1111")
    span = tracing.span(f"{AGENT}/Converse")
    assert span.status.description == "ValueError"
    assert span.events == ()
    assert "4111" not in span.to_json()


def test_words_of_our_errors_are_recorded(tracing: Tracing) -> None:
    with pytest.raises(CartwrightError), server_span(AGENT, "Converse", SAMPLED):
        raise ModelUnavailable("model encoder is not ready on any host")
    span = tracing.span(f"{AGENT}/Converse")
    assert span.status.description == ("ModelUnavailable: model encoder is not ready on any host")


def test_failed_grpc_call_has_its_own_code() -> None:
    class Failed(grpc.RpcError, grpc.Call):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.ABORTED

    Failed.__abstractmethods__ = frozenset()
    assert status_of(Failed()) is grpc.StatusCode.ABORTED
    assert status_of(grpc.RpcError()) is grpc.StatusCode.INTERNAL


async def test_stream_may_be_closed_by_another_task(tracing: Tracing) -> None:
    async def stream() -> AsyncGenerator[int, None]:
        with (
            server_span(AGENT, "ConverseStream", SAMPLED) as (trace_id, span_context),
            observe_step(request(trace_id, span_context), "answer"),
        ):
            yield 1
            yield 2

    events = stream()
    assert await asyncio.create_task(anext(events)) == 1
    await asyncio.create_task(events.aclose())
    span = tracing.span(f"{AGENT}/ConverseStream")
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"
    assert parent_id(tracing.span("step answer")) == own_id(span)


# ---- setup --------------------------------------------------------------------------------------


def test_nothing_is_installed_when_switched_off() -> None:
    configure_tracing(TelemetrySettings(enabled=False), "agent")
    assert active_tracing() is None
    assert setup.flush_tracing()


def test_configuring_twice_keeps_the_first() -> None:
    settings = TelemetrySettings(otlp_endpoint="http://127.0.0.1:1", sample_ratio=0.5)
    try:
        configure_tracing(settings, "agent")
        first = active_tracing()
        configure_tracing(settings, "step")
        assert first is not None
        assert active_tracing() is first
        assert first.sample_ratio == 0.5
    finally:
        shutdown_tracing()
    assert active_tracing() is None
    shutdown_tracing()


@pytest.mark.parametrize("base", ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"])
def test_spans_are_posted_to_the_traces_path(base: str) -> None:
    assert setup.traces_url(base) == "http://127.0.0.1:4318/v1/traces"

"""Deadlines, retries and errors of both clients against a real gRPC server."""

import asyncio
import itertools
import pickle
import random
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from serving.client import AsyncCommerceClient, CommerceClient, RetryPolicy, UnexpectedStatus
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from tests.scripted_agent import REPLIES, RunningAgent, ScriptedAgent, fails, held_until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUICK = RetryPolicy(max_attempts=4, first_pause_ms=1, longest_pause_ms=5)
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def running(agent: ScriptedAgent) -> Iterator[RunningAgent]:
    with RunningAgent(agent) as running:
        yield running


@pytest.fixture
def client(running: RunningAgent) -> Iterator[CommerceClient]:
    with CommerceClient(running.address, retry=QUICK, generator=random.Random(7)) as client:
        yield client


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_only_unavailable_is_tried_again(
    code: grpc.StatusCode, client: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.always("Understand", fails(code, "scripted"))
    with pytest.raises(CartwrightError) as caught:
        client.understand("hello", deadline_ms=10_000)
    assert caught.value.code is code
    assert len(agent.calls) == (4 if code is grpc.StatusCode.UNAVAILABLE else 1)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_only_unavailable_is_tried_again_in_asyncio(
    code: grpc.StatusCode, running: RunningAgent, agent: ScriptedAgent
) -> None:
    agent.always("Understand", fails(code, "scripted"))
    async with AsyncCommerceClient(running.address, retry=QUICK) as client:
        with pytest.raises(CartwrightError) as caught:
            await client.understand("hello", deadline_ms=10_000)
    assert caught.value.code is code
    assert len(agent.calls) == (4 if code is grpc.StatusCode.UNAVAILABLE else 1)


def test_call_succeeds_on_a_later_attempt(client: CommerceClient, agent: ScriptedAgent) -> None:
    agent.then("Converse", *[fails(grpc.StatusCode.UNAVAILABLE)] * 3)
    assert client.converse("hello", session_id="s", deadline_ms=10_000) == REPLIES["Converse"]
    assert len(agent.calls) == 4


def test_announced_time_shrinks_with_every_attempt(
    client: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.then("Understand", *[fails(grpc.StatusCode.UNAVAILABLE)] * 3)
    client.understand("hello", deadline_ms=10_000)
    announced = [float(value or "nan") for value in agent.metadata("cartwright-deadline-ms")]
    assert len(announced) == 4
    assert announced[0] <= 10_000
    assert all(later < earlier for earlier, later in itertools.pairwise(announced))
    for call, announced_ms in zip(agent.calls, announced, strict=True):
        # gRPC says the same: its timeout has few digits on the wire and is rounded up.
        assert call.remaining_s * 1000.0 <= announced_ms * 1.02 + 10.0


async def test_attempts_end_with_the_deadline(running: RunningAgent, agent: ScriptedAgent) -> None:
    agent.always("Understand", fails(grpc.StatusCode.UNAVAILABLE, "still starting"))
    stubborn = RetryPolicy(max_attempts=100_000, first_pause_ms=5, longest_pause_ms=20)
    async with AsyncCommerceClient(running.address, retry=stubborn) as client:
        began = time.monotonic()
        # The error at hand, or the gRPC timeout of an attempt that was sent in the last moment.
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await client.understand("hello", deadline_ms=300)
        took_ms = (time.monotonic() - began) * 1000.0
    assert 2 <= len(agent.calls) < 1000
    assert took_ms < 2000


def test_call_is_not_delayed_beyond_its_deadline_by_a_pause(
    running: RunningAgent, agent: ScriptedAgent
) -> None:
    agent.always("Understand", fails(grpc.StatusCode.UNAVAILABLE, "still starting"))
    slow = RetryPolicy(max_attempts=10, first_pause_ms=1e7, longest_pause_ms=1e7)
    with CommerceClient(running.address, retry=slow, generator=random.Random(1)) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="still starting"):
            client.understand("hello", deadline_ms=5_000)
    assert time.monotonic() - began < 4
    assert len(agent.calls) == 1


async def test_slow_server_meets_the_deadline(running: RunningAgent, agent: ScriptedAgent) -> None:
    never = threading.Event()
    agent.always("Understand", held_until(never, REPLIES["Understand"]))
    async with AsyncCommerceClient(running.address) as client:
        with pytest.raises(DeadlineExceeded, match=r"deadline of the call: 100 ms"):
            await client.understand("hello", deadline_ms=100)
    await asyncio.to_thread(agent.wait_in_flight, 0)
    assert len(agent.calls) == 1


BAD_DEADLINES = [0, 0.0, -1, -0.5, float("nan"), float("inf"), float("-inf"), 600_001]


@pytest.mark.parametrize("deadline_ms", BAD_DEADLINES)
async def test_unusable_deadline_is_refused_before_anything_is_sent(
    deadline_ms: float, client: CommerceClient, running: RunningAgent, agent: ScriptedAgent
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.understand("hello", deadline_ms=deadline_ms)
    assert caught.value.field == "deadline_ms"
    async with AsyncCommerceClient(running.address) as asynchronous:
        with pytest.raises(InvalidRequest):
            await asynchronous.understand("hello", deadline_ms=deadline_ms)
        with pytest.raises(InvalidRequest):
            asynchronous.converse_stream("hello", session_id="s", deadline_ms=deadline_ms)
    assert agent.calls == []


def test_unreachable_server_is_unavailable_at_once() -> None:
    began = time.monotonic()
    with CommerceClient("127.0.0.1:1", retry=QUICK) as client, pytest.raises(Unavailable):
        client.understand("hello", deadline_ms=30_000)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", ["\udcff", "a\ud800b"])
def test_text_that_is_no_unicode_is_refused(
    text: str, client: CommerceClient, agent: ScriptedAgent
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be encoded"):
        client.understand(text, deadline_ms=1000)
    with pytest.raises(InvalidRequest, match="cannot be encoded"):
        client.answer("hello", top_k=2**31, deadline_ms=1000)
    assert agent.calls == []


# ---- what an error carries ------------------------------------------------------------------


def test_invalid_request_names_the_field(client: CommerceClient, agent: ScriptedAgent) -> None:
    agent.then(
        "Recommend",
        fails(grpc.StatusCode.INVALID_ARGUMENT, "top_k: must be 1 to 100, got 0: see the docs"),
        fails(grpc.StatusCode.INVALID_ARGUMENT, "unreadable"),
    )
    with pytest.raises(InvalidRequest) as caught:
        client.recommend(customer_id="c", top_k=0, deadline_ms=1000)
    assert caught.value.field == "top_k"
    assert caught.value.reason == "must be 1 to 100, got 0: see the docs"
    with pytest.raises(InvalidRequest, match="unreadable"):
        client.recommend(customer_id="c", top_k=0, deadline_ms=1000)


@pytest.mark.parametrize(
    ("trailer", "expected_ms"), [("250", 250), ("soon", 1000), ("", 1000), ("-3", 1000)]
)
def test_shed_call_carries_its_retry_after(
    trailer: str, expected_ms: int, client: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.then(
        "Understand", fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after_ms=trailer)
    )
    with pytest.raises(Overloaded, match="full") as caught:
        client.understand("hello", deadline_ms=1000)
    assert caught.value.retry_after_ms == expected_ms
    assert len(agent.calls) == 1


def test_internal_error_carries_its_id_and_its_trace(
    client: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.then("Understand", fails(grpc.StatusCode.INTERNAL, "internal error", error_id="4f2a"))
    with pytest.raises(Internal) as caught:
        client.understand("hello", deadline_ms=1000, traceparent=TRACEPARENT)
    assert caught.value.error_id == "4f2a"
    assert caught.value.trace_id == "0af7651916cd43dd8448eb211c80319c"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.args, copy.error_id) == (Internal, caught.value.args, "4f2a")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, UnexpectedStatus),
        (grpc.StatusCode.DATA_LOSS, UnexpectedStatus),
    ],
)
def test_status_becomes_its_class(
    code: grpc.StatusCode,
    error: type[CartwrightError],
    client: CommerceClient,
    agent: ScriptedAgent,
) -> None:
    agent.then("Understand", fails(code, "because"))
    with pytest.raises(error) as caught:
        client.understand("hello", deadline_ms=1000)
    assert "because" in caught.value.message
    assert type(caught.value) is error
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.code, copy.message) == (code, caught.value.message)


# ---- trace context --------------------------------------------------------------------------


def test_given_traceparent_is_sent_with_every_attempt(
    client: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.then("Understand", fails(grpc.StatusCode.UNAVAILABLE))
    client.understand("hello", deadline_ms=5000, traceparent=TRACEPARENT)
    assert agent.metadata("traceparent") == [TRACEPARENT, TRACEPARENT]


def test_current_span_is_the_parent(client: CommerceClient, agent: ScriptedAgent) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("shopping") as span:
        client.understand("hello", deadline_ms=5000)
        client.understand("hello", deadline_ms=5000, traceparent=TRACEPARENT)
    context = span.get_span_context()
    expected = (
        f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-01"
    )
    sent = agent.metadata("traceparent")
    # Some versions of the W3C format set a further flag; ids and the sampled bit are what counts.
    assert sent[0] is not None
    assert sent[0][:-2] == expected[:-2]
    assert int(sent[0][-2:], 16) & 1
    assert sent[1] == TRACEPARENT


def test_nothing_is_sent_without_a_span(client: CommerceClient, agent: ScriptedAgent) -> None:
    client.understand("hello", deadline_ms=5000)
    assert agent.metadata("traceparent") == [None]


@pytest.mark.parametrize("traceparent", ["yes", "00-xyz-1-01", TRACEPARENT.upper(), "\n"])
def test_malformed_traceparent_is_refused(
    traceparent: str, client: CommerceClient, agent: ScriptedAgent
) -> None:
    with pytest.raises(InvalidRequest, match="traceparent"):
        client.understand("hello", deadline_ms=5000, traceparent=traceparent)
    assert agent.calls == []

"""Both clients against a real gRPC server: every method, streaming, cancellation, connections."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from serving.client import AsyncCommerceClient, CommerceClient, RetryPolicy
from serving.errors import InvalidRequest, Unavailable
from serving.types import Article, Event, EventKind, Feedback
from tests.scripted_agent import (
    REPLIES,
    STREAM_EVENTS,
    RunningAgent,
    ScriptedAgent,
    fails,
    held_until,
)

EVENT = Event(
    event_id="e1", kind=EventKind.ADD_TO_CART, product_id="p1", customer_id="c1", occurred_at_ms=7
)
FEEDBACK = Feedback(trace_id="ab" * 16, helpful=False, comment="no", occurred_at_ms=7)
ARTICLE = Article(article_id="a1", title="Returns", body="Within 30 days.", topic="returns")

CALLS: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]] = {
    "converse": (
        "Converse",
        lambda c: c.converse("hello", session_id="s1", customer_id="c1", top_k=3, deadline_ms=5000),
        {"text": "hello", "session_id": "s1", "customer_id": "c1", "top_k": 3},
    ),
    "understand": (
        "Understand",
        lambda c: c.understand("hello", deadline_ms=5000),
        {"text": "hello"},
    ),
    "answer": (
        "Answer",
        lambda c: c.answer("why?", top_k=2, deadline_ms=5000),
        {"question": "why?", "top_k": 2},
    ),
    "recommend": (
        "Recommend",
        lambda c: c.recommend(customer_id="c1", top_k=7, category="home", deadline_ms=5000),
        {"customer_id": "c1", "session_id": "", "top_k": 7, "category": "home"},
    ),
    "decide": (
        "Decide",
        lambda c: c.decide("hm", session_id="s1", customer_id="c1", deadline_ms=5000),
        {"text": "hm", "session_id": "s1", "customer_id": "c1"},
    ),
    "record_events": (
        "RecordEvents",
        lambda c: c.record_events([EVENT], deadline_ms=5000),
        {},
    ),
    "record_feedback": (
        "RecordFeedback",
        lambda c: c.record_feedback([FEEDBACK], deadline_ms=5000),
        {},
    ),
    "upsert_articles": (
        "UpsertArticles",
        lambda c: c.upsert_articles([ARTICLE], deadline_ms=5000),
        {},
    ),
    "delete_articles": (
        "DeleteArticles",
        lambda c: c.delete_articles(["a1", "a9"], deadline_ms=5000),
        {"article_ids": ["a1", "a9"]},
    ),
    "list_articles": (
        "ListArticles",
        lambda c: c.list_articles(page_size=10, page_token="a0", deadline_ms=5000),
        {"page_size": 10, "page_token": "a0"},
    ),
    "list_models": ("ListModels", lambda c: c.list_models(deadline_ms=5000), {}),
}


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def running(agent: ScriptedAgent) -> Iterator[RunningAgent]:
    with RunningAgent(agent) as running:
        yield running


@pytest.fixture
async def client(running: RunningAgent) -> AsyncIterator[AsyncCommerceClient]:
    async with AsyncCommerceClient(running.address) as client:
        yield client


@pytest.fixture
def blocking(running: RunningAgent) -> Iterator[CommerceClient]:
    with CommerceClient(running.address) as client:
        yield client


@pytest.mark.parametrize("name", CALLS)
async def test_each_method_sends_its_fields_and_returns_the_reply(
    name: str, client: AsyncCommerceClient, agent: ScriptedAgent
) -> None:
    method, call, fields = CALLS[name]
    reply = await call(client)
    assert reply == REPLIES[method]
    sent = agent.calls[0]
    assert sent.method == method
    assert {field: getattr(sent.request, field) for field in fields} == fields


@pytest.mark.parametrize("name", CALLS)
def test_each_blocking_method_does_the_same(
    name: str, blocking: CommerceClient, agent: ScriptedAgent
) -> None:
    method, call, fields = CALLS[name]
    assert call(blocking) == REPLIES[method]
    sent = agent.calls[0]
    assert {field: getattr(sent.request, field) for field in fields} == fields


def test_events_and_articles_arrive_whole(blocking: CommerceClient, agent: ScriptedAgent) -> None:
    for kind in EventKind:
        blocking.record_events(
            [Event(event_id="e", kind=kind, product_id="p", session_id="s")], deadline_ms=5000
        )
    kinds = [call.request.events[0].kind for call in agent.calls]
    assert kinds == [1, 2, 3, 4]
    blocking.record_events([EVENT], deadline_ms=5000)
    event = agent.calls[-1].request.events[0]
    assert (event.event_id, event.customer_id, event.product_id) == ("e1", "c1", "p1")
    assert event.occurred_at_ms == 7
    # Messages are taken as they are, so that a listed article can be stored again.
    blocking.record_events([event], deadline_ms=5000)
    assert agent.calls[-1].request == agent.calls[-2].request
    blocking.upsert_articles([ARTICLE], deadline_ms=5000)
    article = agent.calls[-1].request.articles[0]
    assert (article.article_id, article.title, article.body, article.topic) == (
        "a1",
        "Returns",
        "Within 30 days.",
        "returns",
    )


def test_feedback_arrives_whole(blocking: CommerceClient, agent: ScriptedAgent) -> None:
    blocking.record_feedback(
        [FEEDBACK, Feedback(trace_id="cd" * 16, helpful=True)], deadline_ms=5000
    )
    first, second = agent.calls[0].request.feedback
    assert (first.trace_id, first.rating, first.comment) == ("ab" * 16, 2, "no")
    assert (first.occurred_at_ms, second.occurred_at_ms, second.rating) == (7, 0, 1)
    blocking.record_feedback([first, second], deadline_ms=5000)
    assert agent.calls[1].request == agent.calls[0].request


async def test_health_is_asked_by_service(
    client: AsyncCommerceClient, blocking: CommerceClient, agent: ScriptedAgent
) -> None:
    assert await client.health("cartwright.v1.Agent", deadline_ms=5000) == "SERVING"
    assert agent.calls[0].request.service == "cartwright.v1.Agent"
    agent.health = "NOT_SERVING"
    assert await asyncio.to_thread(blocking.health, deadline_ms=5000) == "NOT_SERVING"


def test_both_clients_have_the_same_methods() -> None:
    def public(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(AsyncCommerceClient) == public(CommerceClient)
    for name, parameters in public(CommerceClient).items():
        if name != "close":
            deadline = inspect.signature(getattr(CommerceClient, name)).parameters["deadline_ms"]
            assert deadline.kind is inspect.Parameter.KEYWORD_ONLY, parameters
            assert deadline.default is inspect.Parameter.empty, name


# ---- streaming ------------------------------------------------------------------------------


async def test_stream_hands_out_events_in_order(client: AsyncCommerceClient) -> None:
    stream = client.converse_stream("hello", session_id="s1", deadline_ms=5000)
    assert [event async for event in stream] == list(STREAM_EVENTS)


def test_blocking_stream_hands_out_events_in_order(blocking: CommerceClient) -> None:
    stream = blocking.converse_stream("hello", session_id="s1", deadline_ms=5000)
    assert list(stream) == list(STREAM_EVENTS)


async def test_stream_is_tried_again_before_its_first_event(
    client: AsyncCommerceClient, agent: ScriptedAgent
) -> None:
    agent.then("ConverseStream", fails(grpc.StatusCode.UNAVAILABLE))
    stream = client.converse_stream("hello", session_id="s1", deadline_ms=5000)
    assert [event async for event in stream] == list(STREAM_EVENTS)
    assert len(agent.calls) == 2


def _breaks_after_one(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield STREAM_EVENTS[0]
    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


async def test_stream_that_breaks_midway_is_not_tried_again(
    client: AsyncCommerceClient, agent: ScriptedAgent
) -> None:
    agent.always("ConverseStream", _breaks_after_one)
    stream = client.converse_stream("hello", session_id="s1", deadline_ms=5000)
    assert await anext(stream) == STREAM_EVENTS[0]
    with pytest.raises(Unavailable, match="gone"):
        await anext(stream)
    assert len(agent.calls) == 1


def test_blocking_stream_that_breaks_midway_is_not_tried_again(
    blocking: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.always("ConverseStream", _breaks_after_one)
    stream = blocking.converse_stream("hello", session_id="s1", deadline_ms=5000)
    assert next(stream) == STREAM_EVENTS[0]
    with pytest.raises(Unavailable, match="gone"):
        next(stream)
    assert len(agent.calls) == 1


@pytest.mark.parametrize("deadline_ms", [0, -5, float("nan")])
def test_stream_refuses_a_deadline_before_it_is_read(
    blocking: CommerceClient, deadline_ms: float
) -> None:
    with pytest.raises(InvalidRequest, match="deadline_ms"):
        blocking.converse_stream("hello", session_id="s1", deadline_ms=deadline_ms)


# ---- cancellation ---------------------------------------------------------------------------


def _endless(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    gone = threading.Event()
    context.add_callback(gone.set)
    while not gone.is_set():
        yield STREAM_EVENTS[0]
        gone.wait(0.01)


async def test_cancelled_call_is_cancelled_on_the_server(
    client: AsyncCommerceClient, agent: ScriptedAgent
) -> None:
    release = threading.Event()
    agent.then("Converse", held_until(release, REPLIES["Converse"]))
    call = asyncio.create_task(client.converse("hello", session_id="s1", deadline_ms=60_000))
    await asyncio.to_thread(agent.wait_in_flight, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(agent.wait_in_flight, 0)
    assert agent.cancelled.is_set()
    # The connection still serves.
    assert await client.understand("hello", deadline_ms=5000) == REPLIES["Understand"]


async def test_stream_that_is_left_is_cancelled_on_the_server(
    client: AsyncCommerceClient, agent: ScriptedAgent
) -> None:
    agent.always("ConverseStream", _endless)
    stream = client.converse_stream("hello", session_id="s1", deadline_ms=60_000)
    async for event in stream:
        assert event == STREAM_EVENTS[0]
        break
    await stream.aclose()
    assert await asyncio.to_thread(agent.cancelled.wait, 10)


def test_blocking_stream_that_is_left_is_cancelled_on_the_server(
    blocking: CommerceClient, agent: ScriptedAgent
) -> None:
    agent.always("ConverseStream", _endless)
    stream = blocking.converse_stream("hello", session_id="s1", deadline_ms=60_000)
    next(stream)
    stream.close()
    assert agent.cancelled.wait(10)


# ---- connections ----------------------------------------------------------------------------


async def test_more_than_100_calls_run_at_once_over_several_connections() -> None:
    agent, release = ScriptedAgent(), threading.Event()
    agent.always("Understand", held_until(release, REPLIES["Understand"]))
    with RunningAgent(agent, threads=170) as running:
        async with AsyncCommerceClient(running.address, channels=4) as client:
            calls = [
                asyncio.create_task(client.understand("hello", deadline_ms=30_000))
                for _ in range(160)
            ]
            await asyncio.to_thread(agent.wait_in_flight, 160)
            release.set()
            await asyncio.gather(*calls)
    by_peer: dict[str, int] = {}
    for call in agent.calls:
        by_peer[call.peer] = by_peer.get(call.peer, 0) + 1
    # Even: each call took the connection with the fewest under way.
    assert sorted(by_peer.values()) == [40, 40, 40, 40]


async def test_one_connection_carries_100_calls_and_lets_the_others_wait() -> None:
    agent, release = ScriptedAgent(), threading.Event()
    agent.always("Understand", held_until(release, REPLIES["Understand"]))
    with RunningAgent(agent, threads=130) as running:
        async with AsyncCommerceClient(running.address, channels=1) as client:
            calls = [
                asyncio.create_task(client.understand("hello", deadline_ms=30_000))
                for _ in range(120)
            ]
            await asyncio.to_thread(agent.wait_in_flight, 100)
            assert len(agent.calls) == 100
            release.set()
            await asyncio.gather(*calls)
    assert len({call.peer for call in agent.calls}) == 1


def test_threads_share_a_blocking_client(running: RunningAgent, agent: ScriptedAgent) -> None:
    with CommerceClient(running.address, channels=2) as client, ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(lambda i: client.understand(f"text {i}", deadline_ms=10_000), range(64))
        )
    assert replies == [REPLIES["Understand"]] * 64
    assert {call.request.text for call in agent.calls} == {f"text {i}" for i in range(64)}


async def test_server_that_comes_back_is_found_again() -> None:
    agent = ScriptedAgent()
    patient = RetryPolicy(max_attempts=1000, first_pause_ms=20, longest_pause_ms=50)
    with RunningAgent(agent) as first:
        async with AsyncCommerceClient(first.address, retry=patient) as client:
            await client.understand("one", deadline_ms=5000)
            first.stop()
            call = asyncio.create_task(client.understand("two", deadline_ms=20_000))
            with pytest.raises(Unavailable):
                await client.understand("three", deadline_ms=200)
            with RunningAgent(agent, port=first.port):
                assert await call == REPLIES["Understand"]


def test_closed_client_says_so(running: RunningAgent) -> None:
    with CommerceClient(running.address) as client:
        client.understand("hello", deadline_ms=5000)
    with pytest.raises(RuntimeError, match="closed"):
        client.understand("hello", deadline_ms=5000)


def test_pool_needs_a_channel() -> None:
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        CommerceClient("127.0.0.1:1", channels=0)

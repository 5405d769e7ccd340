"""The load test's calls over a real connection: deadlines, outcomes, the server's own times."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from loadtest.calls import METHODS, Call
from loadtest.mix import DEFAULT_MIX, Mix
from loadtest.population import Population, ShopContent
from loadtest.sender import Sender
from loadtest.stubs import StubPool
from serving.deadline import METADATA_KEY
from serving.protos import commerce_pb2 as pb
from tests.scripted_agent import STREAM_EVENTS, RunningAgent, ScriptedAgent, fails

pytestmark = pytest.mark.contract

CONTENT = ShopContent(
    customers=("c1", "c2"),
    products=("p1", "p2"),
    orders=(("12345", "c1"),),
    texts=("where is my parcel",),
    questions=("How long does delivery take?",),
)
UNDERSTAND = Call("Understand", pb.UnderstandRequest(text="hello"))
STREAM = Call("ConverseStream", pb.ConverseRequest(session_id="s", text="hello"))


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def pool(agent: ScriptedAgent) -> Iterator[StubPool]:
    with RunningAgent(agent) as running:
        pool = StubPool(running.address, channels=2)
        yield pool
        pool.close()


def test_every_method_is_called_with_the_deadline(pool: StubPool, agent: ScriptedAgent) -> None:
    sender = Sender(pool, deadline_ms=3000.0)
    mix = Mix(DEFAULT_MIX, Population(CONTENT, np.random.default_rng(1)))
    drawn = [mix.draw() for _ in range(60)]
    for call in drawn:
        sender.send(call, scheduled_s=0.0)
    assert [call.method for call in agent.calls] == [call.method for call in drawn]
    assert [call.request for call in agent.calls] == [call.request for call in drawn]
    assert {call.method for call in agent.calls} == set(METHODS)
    assert set(agent.metadata(METADATA_KEY)) == {"3000.000"}
    # gRPC rounds a timeout up when it writes it.
    assert all(0 < call.remaining_s < 3.3 for call in agent.calls)
    assert pool.in_flight == 0


def test_a_degraded_reply_is_an_outcome_of_its_own(pool: StubPool, agent: ScriptedAgent) -> None:
    outcome, reply = Sender(pool, 3000.0).send(UNDERSTAND, scheduled_s=5.0, lateness_s=0.25)
    assert outcome.name == "DEGRADED"
    assert outcome.degraded_steps == ("retrieve",)
    assert outcome.server_steps == (("understand", 6.25), ("decide", 1.5), ("total", 11.75))
    assert outcome.lateness_ms == 250.0
    assert outcome.response_ms == 250.0 + outcome.service_ms
    assert isinstance(reply, pb.UnderstandReply)
    agent.then("Understand", lambda request, context: pb.UnderstandReply())
    assert Sender(pool, 3000.0).send(UNDERSTAND, scheduled_s=0.0)[0].name == "OK"


@pytest.mark.parametrize("call", [UNDERSTAND, STREAM], ids=["unary", "stream"])
def test_a_refusal_is_named_by_its_code_and_carries_its_retry_after(
    pool: StubPool, agent: ScriptedAgent, call: Call
) -> None:
    refusal = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after_ms="250")
    agent.then(call.method, refusal, fails(grpc.StatusCode.INTERNAL))
    sender = Sender(pool, 3000.0)
    refused, reply = sender.send(call, scheduled_s=0.0)
    assert (refused.name, refused.retry_after_ms, reply) == ("RESOURCE_EXHAUSTED", 250.0, None)
    broken, _ = sender.send(call, scheduled_s=0.0)
    assert (broken.name, broken.retry_after_ms) == ("INTERNAL", None)
    assert pool.in_flight == 0


def test_a_call_beyond_its_deadline_counts_with_its_time(
    pool: StubPool, agent: ScriptedAgent
) -> None:
    def wait_for_the_end(_request: Any, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            pass
        return pb.UnderstandReply()

    agent.then("Understand", wait_for_the_end)
    outcome, _ = Sender(pool, 100.0).send(UNDERSTAND, scheduled_s=0.0)
    assert outcome.name == "DEADLINE_EXCEEDED"
    assert outcome.service_ms >= 95.0


def test_a_stream_is_measured_to_its_first_event_and_to_its_end(
    pool: StubPool, agent: ScriptedAgent
) -> None:
    outcome, reply = Sender(pool, 3000.0).send(STREAM, scheduled_s=0.0, lateness_s=0.05)
    assert outcome.first_event_ms is not None
    assert 50.0 < outcome.first_event_ms <= outcome.response_ms
    assert isinstance(reply, pb.ConverseReply)
    assert outcome.name == "DEGRADED", "the last event tells"
    agent.then("ConverseStream", lambda request, context: STREAM_EVENTS[:3])
    unfinished, nothing = Sender(pool, 3000.0).send(STREAM, scheduled_s=0.0)
    assert (unfinished.name, nothing) == ("INCOMPLETE", None)


def test_nobody_there_is_unavailable() -> None:
    pool = StubPool("127.0.0.1:1", channels=1)
    outcome, _ = Sender(pool, 2000.0).send(UNDERSTAND, scheduled_s=0.0)
    pool.close()
    assert outcome.name == "UNAVAILABLE"


def test_unusable_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="channels"):
        StubPool("127.0.0.1:1", channels=0)
    with pytest.raises(ValueError, match="deadline_ms"):
        Sender(StubPool("127.0.0.1:1", channels=1), 0.0)

"""The whole stack as its client sees it: real Ray Serve, real Triton, real gRPC."""

import uuid

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from serving.cli.local_stack import LocalStack
from serving.client import CommerceClient
from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc
from serving.types import Article, Event, EventKind, Feedback

pytestmark = pytest.mark.integration

DEADLINE_MS = 10_000.0


def new_session() -> str:
    return f"test-{uuid.uuid4().hex}"


def test_plain_grpcio_finds_everything_by_reflection(stack: LocalStack) -> None:
    with grpc.insecure_channel(stack.address) as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert {
            "cartwright.v1.Agent",
            "cartwright.v1.Events",
            "cartwright.v1.Knowledge",
            "cartwright.v1.Models",
            "grpc.health.v1.Health",
        } <= services
        health = health_pb2_grpc.HealthStub(channel)
        answered = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answered.status == health_pb2.HealthCheckResponse.SERVING
        reply = commerce_pb2_grpc.AgentStub(channel).Converse(
            pb.ConverseRequest(session_id=new_session(), text="where is my order 12345?"),
            timeout=10,
        )
        assert "12345" in reply.text
        assert reply.understanding.intent == "track_order"


def test_every_reply_says_who_answered_and_how_long_it_took(client: CommerceClient) -> None:
    reply = client.understand("where is my order 12345?", deadline_ms=DEADLINE_MS)
    assert [version.model for version in reply.meta.model_versions] == ["understanding"]
    assert reply.meta.model_versions[0].version >= 1
    assert {step.step for step in reply.meta.steps} >= {"understand"}
    assert 0 < reply.meta.total_ms < DEADLINE_MS
    assert len(reply.meta.trace_id) == 32
    assert not reply.meta.degraded
    slot = next(slot for slot in reply.understanding.slots if slot.name == "order_number")
    assert slot.value == "12345"
    assert "where is my order 12345?"[slot.start_char : slot.end_char] == "12345"


def test_a_missing_slot_is_asked_for_and_filled(client: CommerceClient) -> None:
    session = new_session()
    asked = client.converse("where is my order?", session_id=session, deadline_ms=DEADLINE_MS)
    assert asked.requested_slot == "order_number"
    filled = client.converse("it's 12345", session_id=session, deadline_ms=DEADLINE_MS)
    assert filled.turn == 2
    assert filled.requested_slot == ""
    assert {slot.name: slot.value for slot in filled.known_slots}["order_number"] == "12345"
    assert "12345" in filled.text


def test_two_failures_to_understand_escalate(client: CommerceClient) -> None:
    session = new_session()
    first = client.converse("qwpo zmxn fjgh", session_id=session, deadline_ms=DEADLINE_MS)
    second = client.converse("lkdf gghh trew", session_id=session, deadline_ms=DEADLINE_MS)
    assert first.decision.action == pb.ACTION_CLARIFY
    assert second.decision.action == pb.ACTION_ESCALATE


def test_an_event_changes_the_very_next_recommendation(client: CommerceClient) -> None:
    session = new_session()
    before = client.recommend(session_id=session, top_k=10, deadline_ms=DEADLINE_MS)
    viewed = before.items[-1]
    stored = client.record_events(
        [
            Event(
                event_id=uuid.uuid4().hex,
                kind=EventKind.VIEW,
                product_id=viewed.product_id,
                session_id=session,
            )
        ],
        deadline_ms=DEADLINE_MS,
    )
    assert (stored.stored, stored.duplicates) == (1, 0)
    after = client.recommend(session_id=session, top_k=10, deadline_ms=DEADLINE_MS)
    assert [i.product_id for i in after.items] != [i.product_id for i in before.items]
    assert not after.meta.degraded


def test_feedback_finds_the_answer_that_it_is_about(client: CommerceClient) -> None:
    reply = client.converse("hello", session_id=new_session(), deadline_ms=DEADLINE_MS)
    unknown = uuid.uuid4().hex
    rated = client.record_feedback(
        [
            Feedback(trace_id=reply.meta.trace_id, helpful=False, comment="not what I asked"),
            Feedback(trace_id=unknown, helpful=True),
        ],
        deadline_ms=DEADLINE_MS,
    )
    assert (rated.recorded, list(rated.unknown_trace_ids)) == (2, [unknown])


def test_an_article_is_found_at_once_and_gone_after_its_deletion(client: CommerceClient) -> None:
    article = Article(
        article_id="test-zeppelin",
        title="Delivery by zeppelin",
        body="We deliver by zeppelin on the first Monday of each month for 99 EUR.",
    )
    client.upsert_articles([article], deadline_ms=DEADLINE_MS)
    found = client.answer("do you deliver by zeppelin?", deadline_ms=DEADLINE_MS)
    assert found.answer.known
    assert found.answer.sources[0].article_id == article.article_id
    assert "99 EUR" in found.answer.text
    deleted = client.delete_articles([article.article_id, "nobody"], deadline_ms=DEADLINE_MS)
    assert (deleted.deleted, list(deleted.missing_ids)) == (1, ["nobody"])
    gone = client.answer("do you deliver by zeppelin?", deadline_ms=DEADLINE_MS)
    assert article.article_id not in [source.article_id for source in gone.answer.sources]


def test_articles_are_listed_page_by_page(client: CommerceClient) -> None:
    seen: list[str] = []
    token = ""
    while True:
        page = client.list_articles(page_size=100, page_token=token, deadline_ms=DEADLINE_MS)
        seen += [article.article_id for article in page.articles]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == page.total
    assert seen == sorted(seen)


def test_a_stream_tells_the_turn_in_order_and_ends_with_all_of_it(client: CommerceClient) -> None:
    events = list(
        client.converse_stream(
            "how long does standard delivery take?",
            session_id=new_session(),
            deadline_ms=DEADLINE_MS,
        )
    )
    kinds = [event.WhichOneof("event") for event in events]
    order = ["understanding", "sources", "items", "decision", "text_piece", "done"]
    assert kinds == sorted(kinds, key=order.index)
    assert kinds[0] == "understanding"
    assert kinds[-1] == "done"
    done = events[-1].done
    assert "".join(event.text_piece for event in events[:-1]) == done.text
    assert done.answer.known


def test_a_decision_comes_with_its_factors_and_does_not_move_the_conversation(
    client: CommerceClient,
) -> None:
    session = new_session()
    text = "this is the third time I ask, nobody helps me, I am furious"
    first = client.decide(text, session_id=session, deadline_ms=DEADLINE_MS)
    again = client.decide(text, session_id=session, deadline_ms=DEADLINE_MS)
    assert first.decision.factors
    assert 0 < first.decision.probability <= 1
    assert again.decision == first.decision


def test_models_and_hosts_are_listed(client: CommerceClient) -> None:
    listed = client.list_models(deadline_ms=DEADLINE_MS)
    assert [m.model for m in listed.models] == [
        "candidates",
        "decision",
        "encoder",
        "ranker",
        "understanding",
    ]
    assert all(model.ready and len(model.sha256) == 64 for model in listed.models)
    assert [host.state for host in listed.hosts] == [pb.HOST_STATE_READY]

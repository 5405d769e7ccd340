"""Every method over real gRPC against the real ingress and pipelines; models in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.client import AsyncCommerceClient
from serving.ingress.agent import Ingress
from serving.ingress.health import Health
from serving.ingress.models import ModelsView
from serving.protos import commerce_pb2 as pb
from serving.triton.records import HostRecord, HostState
from serving.types import Article, Event, EventKind
from tests.fakes.world import World, build_world, with_vectors
from tests.ingress_server import no_admin, serving_ingress

pytestmark = pytest.mark.contract

DEADLINE_MS = 10_000.0
MODELS = ("candidates", "decision", "encoder", "ranker", "understanding")


@pytest.fixture
async def world() -> World:
    return await with_vectors(build_world())


@pytest.fixture
async def shop(world: World, tmp_path: Path) -> AsyncIterator[AsyncCommerceClient]:
    hosts = [
        HostRecord(
            host_id="host-1",
            url="127.0.0.1:1",
            state=HostState.READY,
            restarts=2,
            ready_models=dict.fromkeys(MODELS, (1,)),
        )
    ]
    view = ModelsView(world.router.lineups, world.opened.opened, lambda: hosts, lambda _host: 3)
    health = Health(MODELS, world.router.can_answer)
    ingress = Ingress(world.settings, world.pipelines, view, health, no_admin(tmp_path))
    async with serving_ingress(ingress) as address, AsyncCommerceClient(address) as client:
        yield client


async def test_understand(shop: AsyncCommerceClient) -> None:
    reply = await shop.understand("where is my order 12345?", deadline_ms=DEADLINE_MS)
    assert reply.understanding.intent == "track_order"
    (slot,) = reply.understanding.slots
    assert (slot.name, slot.value) == ("order_number", "12345")
    assert {v.model: v.version for v in reply.meta.model_versions} == {"understanding": 1}


async def test_answer_with_sources(shop: AsyncCommerceClient) -> None:
    reply = await shop.answer("how can I return an item?", deadline_ms=DEADLINE_MS)
    assert reply.answer.known
    assert reply.answer.sources[0].article_id == "returns"
    assert reply.answer.sources[0].snippet.startswith("You can return an item")


async def test_a_conversation_remembers_its_slots(shop: AsyncCommerceClient) -> None:
    asked = await shop.converse("where is my order?", session_id="s", deadline_ms=DEADLINE_MS)
    filled = await shop.converse("12345", session_id="s", deadline_ms=DEADLINE_MS)
    assert (asked.turn, asked.requested_slot) == (1, "order_number")
    assert (filled.turn, filled.requested_slot) == (2, "")
    assert [slot.value for slot in filled.known_slots] == ["12345"]


async def test_a_stream_ends_with_what_converse_would_have_said(
    shop: AsyncCommerceClient,
) -> None:
    text = "how can I return an item?"
    events = [
        event async for event in shop.converse_stream(text, session_id="a", deadline_ms=DEADLINE_MS)
    ]
    whole = await shop.converse(text, session_id="b", deadline_ms=DEADLINE_MS)
    assert events[0].WhichOneof("event") == "understanding"
    assert events[-1].WhichOneof("event") == "done"
    assert events[-1].done.text == whole.text
    assert events[-1].done.decision == whole.decision
    assert "".join(event.text_piece for event in events) == whole.text


async def test_events_are_stored_once_and_change_the_next_recommendation(
    shop: AsyncCommerceClient,
) -> None:
    before = await shop.recommend(session_id="s", top_k=4, deadline_ms=DEADLINE_MS)
    event = Event(
        event_id="once",
        kind=EventKind.PURCHASE,
        product_id=before.items[0].product_id,
        session_id="s",
    )
    first = await shop.record_events([event], deadline_ms=DEADLINE_MS)
    again = await shop.record_events([event], deadline_ms=DEADLINE_MS)
    assert (first.stored, first.duplicates, again.stored, again.duplicates) == (1, 0, 0, 1)
    after = await shop.recommend(session_id="s", top_k=4, deadline_ms=DEADLINE_MS)
    assert before.items[0].product_id not in [item.product_id for item in after.items]


async def test_the_knowledge_base_is_changed_and_listed(shop: AsyncCommerceClient) -> None:
    article = Article(article_id="zeppelin", title="Return an item", body="By zeppelin.")
    created = await shop.upsert_articles([article], deadline_ms=DEADLINE_MS)
    updated = await shop.upsert_articles([article], deadline_ms=DEADLINE_MS)
    assert (created.created, created.updated, updated.created, updated.updated) == (1, 0, 0, 1)
    first = await shop.list_articles(page_size=4, deadline_ms=DEADLINE_MS)
    second = await shop.list_articles(
        page_size=4, page_token=first.next_page_token, deadline_ms=DEADLINE_MS
    )
    ids = [entry.article_id for entry in (*first.articles, *second.articles)]
    assert ids == sorted(ids)
    assert len(ids) == first.total == 6
    assert second.next_page_token == ""
    deleted = await shop.delete_articles(["zeppelin", "nobody"], deadline_ms=DEADLINE_MS)
    assert (deleted.deleted, list(deleted.missing_ids)) == (1, ["nobody"])


async def test_a_decision_names_its_factors(shop: AsyncCommerceClient) -> None:
    reply = await shop.decide("where is my order 12345?", deadline_ms=DEADLINE_MS)
    assert reply.decision.action != pb.ACTION_UNSPECIFIED
    assert reply.decision.factors


async def test_hosts_are_listed_with_their_load(shop: AsyncCommerceClient) -> None:
    reply = await shop.list_models(deadline_ms=DEADLINE_MS)
    (host,) = reply.hosts
    assert (host.host_id, host.state, host.restarts, host.in_flight) == (
        "host-1",
        pb.HOST_STATE_READY,
        2,
        3,
    )
    assert await shop.health(deadline_ms=DEADLINE_MS) == "SERVING"


async def test_a_failing_model_shows_in_the_reply(shop: AsyncCommerceClient, world: World) -> None:
    world.models.fail("encoder")
    reply = await shop.answer("how can I return an item?", deadline_ms=DEADLINE_MS)
    assert reply.answer.known
    (degraded,) = reply.meta.degraded
    assert degraded.step == "retrieve"
    assert degraded.fallback == "word search only"
    assert "encoder" in degraded.reason

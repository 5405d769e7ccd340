import asyncio
import time
from dataclasses import replace

import pytest

from serving.errors import DeadlineExceeded, InvalidRequest, ModelUnavailable
from serving.steps.retrieve import RetrieveInput
from serving.types import Article, Event, EventKind
from serving.versions.lineup import Lineup
from tests.fakes.world import ARTICLES, World, build_world, context, small_assets, with_vectors

GIFTS = Article(article_id="gifts", title="Gift wrapping", body="We wrap gifts in red paper.")


@pytest.fixture
async def world() -> World:
    return await with_vectors(build_world())


async def test_an_article_is_found_by_the_next_question(world: World) -> None:
    result = await world.pipelines.knowledge.upsert([GIFTS, ARTICLES[0]], context())
    assert (result.created, result.updated) == (1, 1)
    answer = await world.pipelines.answer("gift wrapping", 3, context())
    assert answer.known
    assert answer.text == "We wrap gifts in red paper."
    assert "gifts" in world.stores.knowledge.of_encoder["encoder/1"]


async def test_without_the_encoder_an_article_is_found_by_words_until_it_is_back(
    world: World,
) -> None:
    knowledge = world.pipelines.knowledge
    world.models.fail("encoder")
    request = context()
    await knowledge.upsert([GIFTS], request)
    assert [d.step for d in request.degraded] == ["encode"]
    assert "gifts" not in world.stores.knowledge.of_encoder["encoder/1"]
    assert (await world.pipelines.answer("gift wrapping", 3, context())).known
    with pytest.raises(ModelUnavailable):
        await knowledge.embed_missing()
    world.models.recover("encoder")
    assert await knowledge.embed_missing() == 1
    assert "gifts" in world.stores.knowledge.of_encoder["encoder/1"]
    assert await knowledge.embed_missing() == 0
    request = context()
    (best, *_) = await world.steps.retrieve(
        RetrieveInput(question="gift wrapping", limit=1), request
    )
    assert best.article.article_id == "gifts"


async def test_a_new_encoder_gets_its_own_vectors_of_everything(world: World) -> None:
    knowledge = world.pipelines.knowledge
    for assets in small_assets(version=2):
        world.opened.open(assets)
    both = Lineup(model="encoder", live=1, candidate=2)
    world.router.follow({**world.router.lineups(), "encoder": both})
    await knowledge.upsert([GIFTS], context())
    assert "gifts" in world.stores.knowledge.of_encoder["encoder/1"]
    assert await knowledge.embed_missing() == len(ARTICLES) + 1
    assert set(world.stores.knowledge.of_encoder["encoder/2"]) == {
        "gifts",
        *(article.article_id for article in ARTICLES),
    }
    assert await knowledge.embed_missing() == 0


async def test_an_article_changed_while_it_was_encoded_is_encoded_again(world: World) -> None:
    knowledge, store = world.pipelines.knowledge, world.stores.knowledge
    await store.upsert([GIFTS], [None], "")
    waiting = world.models.hold("encoder")
    embedding = asyncio.create_task(knowledge.embed_missing())
    await asyncio.wait_for(waiting.wait(), 2)
    changed = replace(GIFTS, body="We no longer wrap gifts.")
    await store.upsert([changed], [None], "")
    world.models.release("encoder")
    assert await embedding == 1
    assert "gifts" not in store.of_encoder["encoder/1"]
    assert await knowledge.embed_missing() == 1
    assert "gifts" in store.of_encoder["encoder/1"]


async def test_without_time_nothing_is_stored(world: World) -> None:
    with pytest.raises(DeadlineExceeded):
        await world.pipelines.knowledge.upsert([GIFTS], context(0))
    assert "gifts" not in world.stores.knowledge.articles


async def test_deleting_says_what_was_not_there_and_counts_an_id_once(world: World) -> None:
    result = await world.pipelines.knowledge.delete(["refund", "gone", "refund", "away"], context())
    assert result.deleted == 1
    assert result.missing_ids == ("gone", "away")
    assert "refund" not in world.stores.knowledge.articles


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 5, 6, 100])
async def test_pages_hold_every_article_once_and_end(world: World, page_size: int) -> None:
    seen: list[str] = []
    token = ""
    while True:
        page = await world.pipelines.knowledge.list_articles(token, page_size, context())
        assert page.total == len(ARTICLES)
        assert 0 < len(page.articles) <= page_size
        seen += [article.article_id for article in page.articles]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(article.article_id for article in ARTICLES)


async def test_an_article_added_between_two_pages_shifts_none(world: World) -> None:
    knowledge = world.pipelines.knowledge
    first = await knowledge.list_articles("", 2, context())
    await knowledge.upsert([replace(GIFTS, article_id="aaa")], context())
    second = await knowledge.list_articles(first.next_page_token, 100, context())
    both = [article.article_id for article in (*first.articles, *second.articles)]
    assert both == sorted(article.article_id for article in ARTICLES)


# ---- events -------------------------------------------------------------------------------------


def event(event_id: str = "e1", **changes: object) -> Event:
    values: dict[str, object] = {
        "event_id": event_id,
        "kind": EventKind.VIEW,
        "product_id": "p00",
        "customer_id": "alice",
        "occurred_at_ms": 1,
    }
    return Event(**{**values, **changes})  # type: ignore[arg-type]


async def test_events_are_stored_once_by_their_ids(world: World) -> None:
    record = world.pipelines.record_events
    first = await record([event("a"), event("b"), event("a")], context())
    assert (first.stored, first.duplicates) == (2, 1)
    again = await record([event("a"), event("c")], context())
    assert (again.stored, again.duplicates) == (1, 1)
    assert (await record([], context())).stored == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"product_id": "p99"}, "events[1].product_id"),
        ({"product_id": ""}, "events[1].product_id"),
        ({"customer_id": "", "session_id": ""}, "events[1].customer_id"),
        ({"occurred_at_ms": int(time.time() * 1000) + 10**9}, "events[1].occurred_at_ms"),
    ],
    ids=["unknown product", "no product", "nobody", "in the future"],
)
async def test_one_bad_event_refuses_them_all_and_is_named(
    world: World, changes: dict[str, object], field: str
) -> None:
    before = list(world.stores.history.events)
    with pytest.raises(InvalidRequest) as caught:
        await world.pipelines.record_events([event("a"), event("b", **changes)], context())
    assert caught.value.field == field
    assert world.stores.history.events == before


async def test_too_late_an_event_is_not_stored(world: World) -> None:
    before = list(world.stores.history.events)
    with pytest.raises(DeadlineExceeded):
        await world.pipelines.record_events([event()], context(0))
    assert world.stores.history.events == before

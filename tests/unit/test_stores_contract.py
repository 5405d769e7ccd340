"""What every implementation of the stores' protocols keeps: the real ones and those in memory."""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import SessionConflict
from serving.stores.protocols import (
    FeedbackStore,
    HistoryStore,
    KnowledgeStore,
    RatedRequest,
    SessionStore,
    ShopStore,
)
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.stores.sqlite_shop import SqliteShop
from serving.types import Article, Event, EventKind, Feedback
from tests.fakes.stores import (
    MemoryFeedback,
    MemoryHistory,
    MemoryKnowledge,
    MemorySessions,
    MemoryShop,
)


@dataclass(frozen=True, kw_only=True)
class Stores:
    sessions: SessionStore
    history: HistoryStore
    feedback: FeedbackStore
    knowledge: KnowledgeStore
    shop: ShopStore


TABLES = (
    *("sessions", "events", "customers", "popularity", "feedback", "feedback_versions"),
    *("articles", "article_vectors"),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("contract") / "shop.sqlite", busy_timeout_ms=2000)
    yield database
    database.close()


def empty(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")


@pytest.fixture(params=["sqlite", "memory"])
def stores(request: pytest.FixtureRequest, database: Database) -> Stores:
    if request.param == "memory":
        history = MemoryHistory()
        return Stores(
            sessions=MemorySessions(),
            history=history,
            feedback=MemoryFeedback(),
            knowledge=MemoryKnowledge(),
            shop=MemoryShop(history=history),
        )
    database.write_blocking(empty, busy_timeout_ms=2000)
    return Stores(
        sessions=SqliteSessions(database),
        history=SqliteHistory(database),
        feedback=SqliteFeedback(database),
        knowledge=SqliteKnowledge(database),
        shop=SqliteShop(database),
    )


def view(event_id: str, **fields: Any) -> Event:
    fields = {"kind": EventKind.VIEW, "product_id": f"of-{event_id}", **fields}
    return Event(event_id=event_id, **fields)


def unit_vector(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.zeros(384, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.float32(np.linalg.norm(vector))


# ---- sessions -----------------------------------------------------------------------------------


async def test_a_new_session_is_none_and_a_saved_one_comes_back(stores: Stores) -> None:
    assert await stores.sessions.load("s") is None
    state = {"slots": [{"name": "colour", "value": "grün \x00 \U0001f600"}], "turn": 1, "x": None}
    assert await stores.sessions.save("s", state, 0) == 1
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert (stored.state, stored.revision) == (state, 1)


@pytest.mark.parametrize("expected_revision", [0, 1, 3, 99])
async def test_a_save_against_another_revision_is_refused_and_changes_nothing(
    stores: Stores, expected_revision: int
) -> None:
    await stores.sessions.save("s", {"turn": 1}, 0)
    await stores.sessions.save("s", {"turn": 2}, 1)
    with pytest.raises(SessionConflict, match="session s"):
        await stores.sessions.save("s", {"turn": "wrong"}, expected_revision)
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert (stored.state, stored.revision) == ({"turn": 2}, 2)


async def test_a_session_that_is_not_there_cannot_be_saved_as_a_later_one(stores: Stores) -> None:
    with pytest.raises(SessionConflict):
        await stores.sessions.save("s", {}, 5)
    assert await stores.sessions.load("s") is None


async def test_of_turns_saved_at_once_exactly_one_wins(stores: Stores) -> None:
    async def save(turn: int) -> bool:
        try:
            await stores.sessions.save("s", {"by": turn}, 0)
        except SessionConflict:
            return False
        return True

    won = await asyncio.gather(*(save(turn) for turn in range(20)))
    assert sum(won) == 1
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert stored.state == {"by": won.index(True)}


# ---- histories ----------------------------------------------------------------------------------


async def test_events_are_stored_once_however_often_they_are_sent(stores: Stores) -> None:
    events = [view(f"e{i}", customer_id="c", occurred_at_ms=i + 1) for i in range(30)]
    assert await stores.history.append(events[:20]) == 20
    assert await stores.history.append(events[10:]) == 10
    assert await stores.history.append([events[3], events[3]]) == 0
    assert await stores.history.append([view("new"), view("new")]) == 1
    assert await stores.history.append([]) == 0
    recent = await stores.history.recent(customer_id="c", limit=100)
    assert [entry.product_id for entry in recent] == [f"of-e{i}" for i in range(30)]


async def test_the_first_of_two_events_with_one_id_counts(stores: Stores) -> None:
    await stores.history.append([view("e", customer_id="c", product_id="first")])
    await stores.history.append([view("e", customer_id="c", product_id="second")])
    recent = await stores.history.recent(customer_id="c")
    assert [entry.product_id for entry in recent] == ["first"]


async def test_recent_is_ordered_by_time_then_arrival_and_cut_at_the_old_end(
    stores: Stores,
) -> None:
    await stores.history.append(
        [
            view("late", customer_id="c", occurred_at_ms=30),
            view("early", customer_id="c", occurred_at_ms=10),
            view("same-a", customer_id="c", occurred_at_ms=20),
            view("same-b", customer_id="c", occurred_at_ms=20),
        ]
    )
    recent = await stores.history.recent(customer_id="c", limit=3)
    assert [entry.product_id for entry in recent] == ["of-same-a", "of-same-b", "of-late"]


async def test_customer_and_session_are_read_together_without_doubles(stores: Stores) -> None:
    await stores.history.append(
        [
            view("visitor", session_id="s", occurred_at_ms=1),
            view("both", customer_id="c", session_id="s", occurred_at_ms=2),
            view("elsewhere", customer_id="c", session_id="other", occurred_at_ms=3),
            view("stranger", customer_id="x", session_id="y", occurred_at_ms=4),
        ]
    )

    async def products(**subject: str) -> list[str]:
        return [entry.product_id[3:] for entry in await stores.history.recent(**subject)]

    assert await products(customer_id="c", session_id="s") == ["visitor", "both", "elsewhere"]
    assert await products(customer_id="c") == ["both", "elsewhere"]
    assert await products(session_id="s") == ["visitor", "both"]
    assert await products() == []
    assert await products(customer_id="c", session_id="unknown") == ["both", "elsewhere"]


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_without_room_gives_nothing(stores: Stores, limit: int) -> None:
    await stores.history.append([view("e", customer_id="c")])
    assert await stores.history.recent(customer_id="c", limit=limit) == []


async def test_an_event_without_a_time_happened_now(stores: Stores) -> None:
    await stores.history.append([view("e", customer_id="c")])
    (entry,) = await stores.history.recent(customer_id="c")
    assert entry.occurred_at_ms > 1_700_000_000_000


async def test_a_customer_is_known_from_the_first_event_on(stores: Stores) -> None:
    await stores.history.append([view("e", session_id="c")])
    assert not await stores.history.customer_exists("c")
    assert not await stores.history.customer_exists("")
    await stores.history.append([view("f", customer_id="c")])
    assert await stores.history.customer_exists("c")


async def test_popularity_counts_each_purchase_once(stores: Stores) -> None:
    bought = [view(f"p{i}", kind=EventKind.PURCHASE, product_id="mug") for i in range(10)]
    cart = view("c", kind=EventKind.ADD_TO_CART, product_id="mug")
    await stores.history.append([*bought, cart, bought[0]])
    await stores.history.append([*bought, view("p", kind=EventKind.PURCHASE, product_id="cup")])
    assert await stores.shop.popularity() == {"mug": 10, "cup": 1}


# ---- feedback -----------------------------------------------------------------------------------

LIVE_3 = ("understanding", 3, "live")
CANARY_4 = ("understanding", 4, "canary")
RANKER_1 = ("ranker", 1, "live")


def rated(
    trace_id: str,
    helpful: bool,
    *versions: tuple[str, int, str],
    given_at_ms: int = 10,
    answered_at_ms: int = 5,
    comment: str = "",
) -> RatedRequest:
    feedback = Feedback(
        trace_id=trace_id, helpful=helpful, comment=comment, occurred_at_ms=given_at_ms
    )
    return RatedRequest(feedback=feedback, answered_at_ms=answered_at_ms, versions=versions)


async def test_ratings_are_counted_by_version_and_arm(stores: Stores) -> None:
    recorded = await stores.feedback.record(
        [
            rated("a", True, LIVE_3, RANKER_1),
            rated("b", False, LIVE_3, RANKER_1),
            rated("c", False, CANARY_4, RANKER_1),
            rated("d", False, ("understanding", 4, "pinned")),
            rated("e", False),
        ]
    )
    assert recorded == 5
    assert stores.feedback.counts("understanding", 0) == {
        (3, "live"): (1, 2),
        (4, "canary"): (1, 1),
        (4, "pinned"): (1, 1),
    }
    assert stores.feedback.counts("ranker", 0) == {(1, "live"): (2, 3)}
    assert stores.feedback.counts("decision", 0) == {}
    assert await stores.feedback.record([]) == 0


async def test_ratings_are_counted_from_the_moment_of_the_answer_on(stores: Stores) -> None:
    await stores.feedback.record(
        [
            # Rated late and answered early, and the other way round.
            rated("a", False, LIVE_3, given_at_ms=900, answered_at_ms=99),
            rated("b", True, LIVE_3, given_at_ms=100, answered_at_ms=100),
        ]
    )
    counts = stores.feedback.counts
    assert counts("understanding", 99) == {(3, "live"): (1, 2)}
    assert counts("understanding", 100) == {(3, "live"): (0, 1)}
    assert counts("understanding", 101) == {}


@pytest.mark.parametrize(
    ("second_at_ms", "recorded", "counted"), [(9, 0, (1, 1)), (10, 1, (0, 1)), (11, 1, (0, 1))]
)
async def test_the_newest_rating_of_a_request_counts(
    stores: Stores, second_at_ms: int, recorded: int, counted: tuple[int, int]
) -> None:
    assert await stores.feedback.record([rated("a", False, CANARY_4)]) == 1
    again = rated("a", True, CANARY_4, given_at_ms=second_at_ms)
    assert await stores.feedback.record([again]) == recorded
    assert stores.feedback.counts("understanding", 0) == {(4, "canary"): counted}


async def test_a_rating_twice_in_a_batch_counts_once(stores: Stores) -> None:
    batch = [rated("a", True, LIVE_3, given_at_ms=7), rated("a", False, LIVE_3, given_at_ms=8)]
    assert await stores.feedback.record(batch) == 2
    assert await stores.feedback.record(batch) == 1
    assert stores.feedback.counts("understanding", 0) == {(3, "live"): (1, 1)}


async def test_versions_are_remembered_when_the_ledger_has_forgotten(stores: Stores) -> None:
    await stores.feedback.record([rated("a", True, LIVE_3, answered_at_ms=50)])
    await stores.feedback.record([rated("a", False, given_at_ms=20, answered_at_ms=0)])
    assert stores.feedback.counts("understanding", 50) == {(3, "live"): (1, 1)}
    # What was unknown at first, and is known now, counts from now on.
    await stores.feedback.record([rated("b", False)])
    await stores.feedback.record([rated("b", False, LIVE_3, answered_at_ms=60)])
    assert stores.feedback.counts("understanding", 50) == {(3, "live"): (2, 2)}


async def test_feedback_without_a_time_was_given_now(stores: Stores) -> None:
    await stores.feedback.record([rated("a", True, LIVE_3, given_at_ms=0)])
    assert await stores.feedback.record([rated("a", False, LIVE_3, given_at_ms=10)]) == 0
    assert await stores.feedback.record([rated("a", False, LIVE_3, given_at_ms=0)]) == 1
    assert stores.feedback.counts("understanding", 0) == {(3, "live"): (1, 1)}


# ---- knowledge ----------------------------------------------------------------------------------

RETURNS = Article(article_id="returns", title="Returns", body="Send goods back within 30 days.")
SHIPPING = Article(article_id="shipping", title="Delivery times", body="Parcels take two days.")


async def test_upsert_tells_new_articles_from_changed_ones(stores: Stores) -> None:
    assert await stores.knowledge.upsert([RETURNS, SHIPPING], [None, None], "encoder/1") == (2, 0)
    changed = Article(article_id="returns", title="Returns", body="Within 14 days.", topic="order")
    assert await stores.knowledge.upsert([changed], [None], "encoder/1") == (0, 1)
    assert await stores.knowledge.upsert([], [], "encoder/1") == (0, 0)
    stored = (await stores.knowledge.get(["returns", "nowhere"]))["returns"]
    assert (stored.body, stored.topic) == ("Within 14 days.", "order")
    assert stored.updated_at_ms > 1_700_000_000_000
    assert await stores.knowledge.count() == 2


async def test_of_two_articles_with_one_id_in_one_call_the_later_counts(stores: Stores) -> None:
    later = Article(article_id="returns", title="Later", body="Text.")
    counts = await stores.knowledge.upsert([RETURNS, later], [None, None], "encoder/1")
    assert counts == (1, 1)
    assert (await stores.knowledge.get(["returns"]))["returns"].title == "Later"


async def test_vectors_have_to_be_one_an_article(stores: Stores) -> None:
    with pytest.raises(ValueError, match="vectors: 0 for 1 articles"):
        await stores.knowledge.upsert([RETURNS], [], "encoder/1")
    assert await stores.knowledge.count() == 0


async def test_delete_tells_what_was_not_there(stores: Stores) -> None:
    await stores.knowledge.upsert([RETURNS, SHIPPING], [unit_vector(1), None], "encoder/1")
    assert await stores.knowledge.delete(["x", "returns", "returns", "y"]) == ["x", "y"]
    assert await stores.knowledge.count() == 1
    assert await stores.knowledge.search_words("returns", 5) == []
    assert (await stores.knowledge.vectors("encoder/1")).article_ids == ()


async def test_pages_run_through_all_articles_in_id_order(stores: Stores) -> None:
    ids = ["", "A", "a", "aa", "b", "ä", "中", "\U0001f600"][1:]
    articles = [Article(article_id=i, title=i, body="text") for i in ids]
    await stores.knowledge.upsert(articles[::-1], [None] * len(ids), "encoder/1")
    seen: list[str] = []
    while page := await stores.knowledge.page(seen[-1] if seen else "", 3):
        assert len(page) <= 3
        seen += [article.article_id for article in page]
    assert seen == sorted(ids)
    assert await stores.knowledge.page("", 0) == []


async def test_the_revision_moves_with_every_change_and_only_then(stores: Stores) -> None:
    revisions = [await stores.knowledge.revision()]

    async def moved() -> bool:
        revisions.append(await stores.knowledge.revision())
        return revisions[-1] > revisions[-2]

    await stores.knowledge.upsert([RETURNS], [None], "encoder/1")
    assert await moved()
    stored = (await stores.knowledge.get(["returns"]))["returns"]
    await stores.knowledge.set_vectors(
        [("returns", stored.updated_at_ms, unit_vector(1))], "encoder/1"
    )
    assert await moved()
    await stores.knowledge.set_vectors([("nowhere", 1, unit_vector(1))], "encoder/1")
    await stores.knowledge.set_vectors([], "encoder/1")
    await stores.knowledge.delete(["nowhere"])
    await stores.knowledge.search_words("returns", 5)
    assert not await moved()
    await stores.knowledge.delete(["returns"])
    assert await moved()


async def test_vectors_come_back_bit_by_bit_with_the_revision_they_belong_to(
    stores: Stores,
) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(40, 384)).astype(np.float32)
    ids = [f"a{i:02}" for i in range(40)]
    articles = [Article(article_id=i, title=i, body="text") for i in ids]
    await stores.knowledge.upsert(articles[::-1], list(matrix[::-1]), "encoder/1")
    found = await stores.knowledge.vectors("encoder/1")
    assert found.article_ids == tuple(ids)
    assert found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix, matrix)
    assert found.revision == await stores.knowledge.revision()
    other = await stores.knowledge.vectors("encoder/2")
    assert (other.article_ids, other.matrix.shape) == ((), (0, 384))


async def test_a_changed_text_loses_its_vector_until_a_new_one_is_set(stores: Stores) -> None:
    await stores.knowledge.upsert(
        [RETURNS, SHIPPING], [unit_vector(1), unit_vector(2)], "encoder/1"
    )
    old = (await stores.knowledge.get(["returns"]))["returns"]
    await stores.knowledge.upsert([RETURNS], [None], "encoder/1")
    assert (await stores.knowledge.vectors("encoder/1")).article_ids == ("shipping",)
    (waiting,) = await stores.knowledge.without_vector("encoder/1", 10)
    assert waiting.article_id == "returns"
    assert waiting.updated_at_ms > old.updated_at_ms
    # Made of the old text: too late.
    await stores.knowledge.set_vectors(
        [("returns", old.updated_at_ms, unit_vector(3))], "encoder/1"
    )
    assert len(await stores.knowledge.without_vector("encoder/1", 10)) == 1
    await stores.knowledge.set_vectors(
        [("returns", waiting.updated_at_ms, unit_vector(3))], "encoder/1"
    )
    assert await stores.knowledge.without_vector("encoder/1", 10) == []


async def test_encoders_have_their_vectors_side_by_side(stores: Stores) -> None:
    await stores.knowledge.upsert([RETURNS], [unit_vector(1)], "encoder/1")
    (article,) = await stores.knowledge.without_vector("encoder/2", 10)
    await stores.knowledge.set_vectors(
        [("returns", article.updated_at_ms, unit_vector(0, 1))], "encoder/2"
    )
    for encoder, vector in (("encoder/1", unit_vector(1)), ("encoder/2", unit_vector(0, 1))):
        found = await stores.knowledge.vectors(encoder)
        np.testing.assert_array_equal(found.matrix, vector[None])


async def test_word_search_puts_the_article_with_the_rare_words_first(stores: Stores) -> None:
    filler = [
        Article(article_id=f"f{i}", title="Parcel news", body="All about parcels and goods.")
        for i in range(10)
    ]
    await stores.knowledge.upsert([*filler, RETURNS, SHIPPING], [None] * 12, "encoder/1")
    found = await stores.knowledge.search_words("Can I send goods BACK?", 5)
    assert found[0][0] == "returns"
    assert len(found) == 5
    assert all(score > 0 for _, score in found)
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)


@pytest.mark.parametrize("query", ["", "   ", "what is the", "?!*", "\U0001f600", "zzz", "\x00"])
async def test_a_query_without_a_known_word_finds_nothing(stores: Stores, query: str) -> None:
    await stores.knowledge.upsert([RETURNS, SHIPPING], [None, None], "encoder/1")
    assert await stores.knowledge.search_words(query, 5) == []


_numbers = itertools.count()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(article_id=TEXT.filter(bool), title=TEXT, body=TEXT)
async def test_any_text_can_be_stored_found_and_deleted(
    stores: Stores, article_id: str, title: str, body: str
) -> None:
    article = Article(article_id=article_id, title=title, body=body, topic=title)
    await stores.knowledge.upsert([article], [unit_vector(1)], "encoder/1")
    stored = (await stores.knowledge.get([article_id]))[article_id]
    assert (stored.title, stored.body, stored.topic) == (title, body, title)
    assert (await stores.knowledge.page("", 2))[0] == stored
    assert (await stores.knowledge.vectors("encoder/1")).article_ids == (article_id,)
    await stores.knowledge.search_words(f"{title} {body}", 3)
    assert await stores.knowledge.delete([article_id]) == []
    assert await stores.knowledge.count() == 0


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(event_id=TEXT, subject=TEXT, product_id=TEXT)
async def test_any_ids_can_be_recorded(
    stores: Stores, event_id: str, subject: str, product_id: str
) -> None:
    # Examples share the stores: each takes ids that no other has.
    number = next(_numbers)
    event_id, subject = f"{event_id}{number}", f"{subject}\x00{number}"
    event = view(event_id, customer_id=subject, product_id=product_id)
    assert await stores.history.append([event, event]) == 1
    assert await stores.history.append([event]) == 0
    assert await stores.history.customer_exists(subject)
    recent = await stores.history.recent(customer_id=subject)
    assert [entry.product_id for entry in recent] == [product_id]

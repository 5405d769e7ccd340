"""Articles and their vectors as every implementation keeps them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from serving.types import Article
from tests.store_kinds import TEXT, Stores

RETURNS = Article(article_id="returns", title="Returns", body="Send goods back within 30 days.")
SHIPPING = Article(article_id="shipping", title="Delivery times", body="Parcels take two days.")


def unit_vector(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.zeros(384, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.float32(np.linalg.norm(vector))


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

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assets import EncoderAssets
from serving.errors import ModelContractViolated, ModelUnavailable
from serving.models.tokenizer import Tokenizer
from serving.steps.encode import (
    DIMENSIONS,
    MAX_BATCH,
    Encode,
    EncodeInput,
    article_text,
    encoder_name,
)
from serving.steps.retrieve import (
    WORD_WEIGHT,
    Retrieve,
    RetrieveInput,
    RetrieveWords,
    fuse,
    word_score,
)
from serving.stores.protocols import ArticleVectors
from serving.types import Article
from serving.versions.lineup import Lineup
from serving.words import content_words
from tests.fakes.models import encode_bag_of_tokens
from tests.fakes.stores import MemoryKnowledge
from tests.fakes.world import ARTICLES, World, build_world, context, small_assets, with_vectors

SHARE = st.floats(0.0, 1.0)


def encoder_tokenizer() -> Tokenizer:
    (encoder,) = [assets for assets in small_assets() if isinstance(assets, EncoderAssets)]
    return encoder.tokenizer


@pytest.fixture
async def world() -> World:
    return await with_vectors(build_world())


def ask(question: str, limit: int = 3) -> RetrieveInput:
    return RetrieveInput(question=question, limit=limit)


@given(SHARE, SHARE, SHARE)
def test_the_fused_score_is_a_share_and_rises_with_either_evidence(
    low: float, high: float, other: float
) -> None:
    low, high = min(low, high), max(low, high)
    for on_topic in (False, True):
        assert (
            0.0
            <= fuse(low, other, on_topic=on_topic)
            <= fuse(high, other, on_topic=on_topic)
            <= 1.0
        )
        assert fuse(other, low, on_topic=on_topic) <= fuse(other, high, on_topic=on_topic) <= 1.0
    assert fuse(None, other, on_topic=False) == other
    assert fuse(low, high, on_topic=False) <= fuse(low, high, on_topic=True)


def test_words_lift_but_do_not_carry_an_article_whose_meaning_is_another() -> None:
    assert fuse(0.0, 1.0, on_topic=False) == WORD_WEIGHT
    assert fuse(0.8, 0.0, on_topic=False) == 0.8
    assert fuse(0.8, 1.0, on_topic=False) > 0.8


def test_one_rare_word_in_common_does_not_answer_a_long_question() -> None:
    article = Article(article_id="a", title="Capital letters", body="Names begin with a capital.")
    short, long = content_words("capital letters"), content_words("capital of France in 1920")
    assert word_score(short, article, 6.0) == pytest.approx(0.75)
    assert word_score(long, article, 6.0) == pytest.approx(0.25)
    assert word_score(short, article, 0.5) == pytest.approx(0.2)
    assert word_score(frozenset(), article, 6.0) == 0.0


async def test_the_best_article_comes_first_with_a_score_that_separates(world: World) -> None:
    for article in ARTICLES:
        passages = await world.steps.retrieve(ask(article.title), context())
        assert passages[0].article.article_id == article.article_id
        assert passages[0].score > 0.45
        scores = [passage.score for passage in passages]
        assert scores == sorted(scores, reverse=True)
    nonsense = await world.steps.retrieve(ask("zzz qqq vvv"), context())
    assert all(passage.score < 0.45 for passage in nonsense)


async def test_the_topic_decides_between_articles_that_are_about_as_close(world: World) -> None:
    articles = [
        Article(article_id=f"{topic}-fee", title="What does it cost?", body="A fee.", topic=topic)
        for topic in ("cancel_order", "return_item")
    ]
    await world.pipelines.knowledge.upsert(articles, context())
    for topic in ("cancel_order", "return_item"):
        for step in (world.steps.retrieve, RetrieveWords(world.stores.knowledge)):
            wanted = RetrieveInput(question="what does it cost", limit=2, topic=topic)
            best, other = await step(wanted, context())
            assert best.article.topic == topic
            assert best.score > other.score


async def test_the_step_reports_the_encoder_and_its_time(world: World) -> None:
    request = context()
    await world.steps.retrieve(ask("refund"), request)
    assert request.model_versions == {"encoder": 1}
    assert [timing.step for timing in request.timings] == ["encode"]


async def test_meaning_finds_what_no_word_would(world: World) -> None:
    # Close in the vectors of the model, without one word as the word search sees it.
    question = "the to is a it"
    assert await RetrieveWords(world.stores.knowledge)(ask(question), context()) == ()
    assert await world.steps.retrieve(ask(question), context())


async def test_limits_below_and_above_what_is_there(world: World) -> None:
    assert len(await world.steps.retrieve(ask("return an item", 1), context())) == 1
    assert len(await world.steps.retrieve(ask("return an item", 50), context())) <= len(ARTICLES)
    world.stores.knowledge.articles.clear()
    world.stores.knowledge.of_encoder.clear()
    world.stores.knowledge.changes += 1
    assert await world.steps.retrieve(ask("return an item"), context()) == ()


async def test_another_writers_change_is_seen_by_the_next_question(world: World) -> None:
    knowledge = world.stores.knowledge
    before = await world.steps.retrieve(ask("gift wrapping"), context())
    assert before == () or before[0].score < 0.45
    article = Article(article_id="gifts", title="Gift wrapping", body="We wrap gifts.")
    (vector,) = (
        await world.steps.encode(EncodeInput(texts=(article_text(article),)), context())
    ).vectors
    await knowledge.upsert([article], [vector], encoder_name(1))
    found = await world.steps.retrieve(ask("gift wrapping"), context())
    assert found[0].article.article_id == "gifts"
    await knowledge.delete(["gifts"])
    after = await world.steps.retrieve(ask("gift wrapping"), context())
    assert "gifts" not in [passage.article.article_id for passage in after]


class CountingKnowledge(MemoryKnowledge):
    """Counts how often the vectors are read, and holds the reader until all callers have asked.

    The reader itself asks twice: before it waits for its turn, and when it has it.
    """

    def __init__(self, callers: int) -> None:
        super().__init__(articles={a.article_id: a for a in ARTICLES})
        self.reads = 0
        self.asked = 0
        self.callers = callers
        self.gate = asyncio.Event()

    async def revision(self) -> int:
        self.asked += 1
        if self.asked == self.callers + 1:
            self.gate.set()
        return await super().revision()

    async def vectors(self, encoder: str) -> ArticleVectors:
        self.reads += 1
        await self.gate.wait()
        return await super().vectors(encoder)


async def test_vectors_are_read_once_a_revision_however_many_ask_at_once(world: World) -> None:
    knowledge = CountingKnowledge(callers=5)
    knowledge.of_encoder = world.stores.knowledge.of_encoder
    retrieve = Retrieve(knowledge, Encode(world.models, encoder_tokenizer()))
    await asyncio.gather(*(retrieve(ask("refund"), context()) for _ in range(5)))
    await retrieve(ask("refund"), context())
    assert knowledge.reads == 1
    knowledge.changes += 1
    await retrieve(ask("refund"), context())
    assert knowledge.reads == 2


async def test_an_article_without_a_vector_is_judged_by_its_words(world: World) -> None:
    article = Article(article_id="gifts", title="Gift wrapping", body="We wrap gifts.")
    await world.stores.knowledge.upsert([article], [None], "")
    (best, *_) = await world.steps.retrieve(ask("gift wrapping"), context())
    (by_words, *_) = await RetrieveWords(world.stores.knowledge)(ask("gift wrapping"), context())
    assert best == by_words
    assert best.article.article_id == "gifts"


async def test_vectors_of_another_encoder_are_not_compared(world: World) -> None:
    for assets in small_assets(version=2):
        world.opened.open(assets)
    promoted = Lineup(model="encoder", live=2, previous=1)
    world.router.follow({**world.router.lineups(), "encoder": promoted})
    (best, *_) = await world.steps.retrieve(ask("get a refund"), context())
    (by_words, *_) = await RetrieveWords(world.stores.knowledge)(ask("get a refund"), context())
    assert best == by_words


async def test_a_large_knowledge_base_is_cut_to_the_closest(world: World) -> None:
    rng = np.random.default_rng(1)
    articles = [Article(article_id=f"a{i:03}", title=f"t{i}", body="b") for i in range(200)]
    vectors = rng.normal(size=(200, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    inputs = encoder_tokenizer().encode(["pay by card"]).inputs()
    asked = encode_bag_of_tokens(inputs)["embedding"][0]
    vectors[137] = asked
    await world.stores.knowledge.upsert(articles, list(vectors), encoder_name(1))
    found = await world.steps.retrieve(ask("pay by card", 5), context())
    assert found[0].article.article_id == "a137"
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    expected = np.sort(np.clip(vectors @ asked, 0, 1))[-5:][::-1]
    assert found[1].score >= expected[1] - 1e-6


async def test_a_failing_encoder_is_not_swallowed_and_leaves_no_task_behind(world: World) -> None:
    world.models.fail("encoder")
    with pytest.raises(ModelUnavailable):
        await world.steps.retrieve(ask("refund"), context())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_texts_are_encoded_in_batches_and_stay_in_order(world: World) -> None:
    texts = tuple(f"item {i}" for i in range(MAX_BATCH * 2 + 3))
    found = await world.steps.encode(EncodeInput(texts=texts), context())
    assert found.vectors.shape == (len(texts), DIMENSIONS)
    assert found.vectors.dtype == np.float32
    assert found.encoder == "encoder/1"
    assert world.models.called("encoder") == 3
    for place in (0, MAX_BATCH, len(texts) - 1):
        alone = await world.steps.encode(EncodeInput(texts=(texts[place],)), context())
        np.testing.assert_allclose(found.vectors[place], alone.vectors[0], atol=1e-6)


async def test_a_vector_of_another_width_is_refused(world: World) -> None:
    world.models.functions["encoder"] = lambda inputs: {
        "embedding": np.ones((len(inputs["input_ids"]), 17), np.float32)
    }
    with pytest.raises(ModelContractViolated, match="embedding"):
        await world.steps.retrieve(ask("refund"), context())


def test_an_articles_text_begins_with_its_title() -> None:
    article = replace(ARTICLES[0], body="Body.")
    assert article_text(article) == "Delivery times. Body."

import asyncio
import logging
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import Catalogue, CatalogueSnapshot, in_category
from serving.errors import ModelContractViolated, StoreUnavailable
from serving.models.client import Tensors
from serving.steps.generate_candidates import (
    HISTORY_LENGTH,
    GenerateCandidatesInput,
    popular_candidates,
)
from serving.steps.rank import MAX_BATCH, RankInput
from serving.types import Event, EventKind, Product
from tests.fakes.models import next_in_line
from tests.fakes.stores import MemoryHistory, MemoryShop
from tests.fakes.world import PRODUCTS, World, build_world, context

IDS = [product.product_id for product in PRODUCTS]


def snapshot(popularity: dict[str, int] | None = None) -> CatalogueSnapshot:
    return CatalogueSnapshot.build(PRODUCTS, popularity or {}, {})


def wanted(*history: str, limit: int = 5) -> GenerateCandidatesInput:
    return GenerateCandidatesInput(history=history, limit=limit)


@pytest.fixture
def world() -> World:
    return build_world()


async def test_candidates_follow_the_history(world: World) -> None:
    found = await world.steps.generate_candidates(wanted("p03", "p10"), context())
    # Closest to the one after the last, p11; the last itself is left out by the model.
    assert found.product_ids[0] == "p11"
    assert set(found.product_ids[1:3]) == {"p12", "p09"}
    assert found.personal
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


async def test_a_history_is_padded_on_the_left_and_skips_unknown_products(world: World) -> None:
    await world.steps.generate_candidates(wanted("gone", "p03", "new", "p10"), context())
    ((_, inputs),) = world.models.calls
    assert inputs["history"].shape == (1, HISTORY_LENGTH)
    assert inputs["history"].dtype == np.int64
    assert inputs["history"][0].tolist() == [0] * 48 + [4, 11]


async def test_a_long_history_keeps_its_latest_products(world: World) -> None:
    long = [IDS[i % len(IDS)] for i in range(70)]
    await world.steps.generate_candidates(wanted(*long), context())
    ((_, inputs),) = world.models.calls
    assert inputs["history"][0].tolist() == [IDS.index(p) + 1 for p in long[-50:]]


@pytest.mark.parametrize("history", [(), ("gone",)], ids=["no history", "nothing known"])
async def test_without_a_past_popular_products_come_without_asking_the_model(
    world: World, history: tuple[str, ...]
) -> None:
    request = context()
    found = await world.steps.generate_candidates(wanted(*history, limit=3), request)
    assert found.product_ids == ("p04", "p09", "p14")
    assert not found.personal
    assert world.models.calls == []
    assert request.degraded == []


@pytest.mark.parametrize(
    ("indexes", "reason"),
    [([[0, 1]], "outside of 1 to 30"), ([[1, 31]], "outside"), ([[1, 2, 3]], "differ in shape")],
)
async def test_items_outside_of_the_catalogue_are_refused(
    world: World, indexes: list[list[int]], reason: str
) -> None:
    def broken(inputs: Tensors) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        return {
            "item_indexes": np.array(indexes, np.int64),
            "scores": np.zeros((1, 2), np.float32),
        }

    world.models.functions["candidates"] = broken
    with pytest.raises(ModelContractViolated, match=reason):
        await world.steps.generate_candidates(wanted("p01"), context())


def test_popular_candidates_keep_to_the_category() -> None:
    found = popular_candidates(snapshot({"p04": 5, "p00": 1, "p05": 2}), 10, "home/kitchen/mugs")
    assert found.product_ids == ("p05", "p00", "p10", "p15", "p20", "p25")
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


async def test_ranking_puts_first_what_is_like_the_last_interactions(world: World) -> None:
    request = RankInput(
        history=("p00", "p05", "p10"),
        candidates=("p01", "p02", "p15", "p03"),
        scores=np.zeros(4, np.float32),
    )
    ranking = await world.steps.rank(request, context())
    assert ranking.product_ids[0] == "p15"
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
    assert all(0.0 < p < 1.0 for p in ranking.probabilities)


async def test_ranking_leaves_out_products_that_are_gone(world: World) -> None:
    request = RankInput(
        history=("gone",), candidates=("gone", "p01"), scores=np.array([2.0, 1.0], np.float32)
    )
    assert (await world.steps.rank(request, context())).product_ids == ("p01",)
    nothing = RankInput(history=(), candidates=("gone",), scores=np.ones(1, np.float32))
    assert (await world.steps.rank(nothing, context())).product_ids == ()
    assert world.models.called("ranker") == 1


async def test_more_candidates_than_a_batch_are_ranked_in_several(world: World) -> None:
    many = tuple(IDS[i % len(IDS)] for i in range(MAX_BATCH + 40))
    scores = np.linspace(1, 0, len(many)).astype(np.float32)
    request = RankInput(history=("p00",), candidates=many, scores=scores)
    ranking = await world.steps.rank(request, context())
    assert len(ranking.product_ids) == len(many)
    assert [len(inputs["dense"]) for _, inputs in world.models.calls] == [MAX_BATCH, 40]


@given(st.permutations(IDS))
async def test_ranking_is_a_permutation_of_its_candidates(candidates: Sequence[str]) -> None:
    world = build_world()
    request = RankInput(
        history=("p00",),
        candidates=tuple(candidates),
        scores=np.linspace(1, 0, len(candidates)).astype(np.float32),
    )
    ranking = await world.steps.rank(request, context())
    assert sorted(ranking.product_ids) == sorted(candidates)


@pytest.mark.parametrize(
    ("category", "inside"),
    [("", True), ("home", True), ("home/kitchen", True), ("home/kit", False), ("garden", False)],
)
def test_a_category_holds_what_is_below_it_by_whole_names(category: str, inside: bool) -> None:
    product = Product(product_id="p", title="", category="home/kitchen", price_cents=1)
    assert in_category(product, category) is inside


@pytest.mark.parametrize(
    ("words", "details", "expected"),
    [
        ("mugs", (), {"p00", "p05", "p10", "p15", "p20", "p25"}),
        ("mug", ("blue",), {"p00", "p15"}),
        ("a BLUE mug", (), {"p00", "p15"}),
        ("mug", ("purple",), {"p00", "p05", "p10", "p15", "p20", "p25"}),
        ("kitchen pan", (), {"p01", "p06", "p11", "p16", "p21", "p26"}),
        ("submarine", ("blue",), set()),
        ("", ("blue",), set()),
    ],
)
def test_words_of_a_customer_are_matched_to_products(
    words: str, details: tuple[str, ...], expected: set[str]
) -> None:
    assert snapshot().matching(words, details) == expected


class SlowShop(MemoryShop):
    """Counts its readers, and can be held and broken."""

    def __init__(self) -> None:
        self.bought = MemoryHistory()
        super().__init__(catalogue=PRODUCTS, history=self.bought)
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def products(self) -> list[Product]:
        self.reads += 1
        await self.gate.wait()
        if self.broken:
            raise StoreUnavailable("the file is locked")
        return await super().products()


async def renewed(catalogue: Catalogue) -> None:
    """Asks, and waits until what that began behind the scenes is done."""
    await catalogue.current()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


async def test_the_catalogue_is_read_once_for_all_who_wait_and_one_may_leave() -> None:
    shop = SlowShop()
    shop.gate.clear()
    catalogue = Catalogue(shop)
    waiting = [asyncio.create_task(catalogue.current()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    shop.gate.set()
    first, *others = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert others[0] is others[1] is await catalogue.current()
    assert shop.reads == 1


async def test_popularity_follows_what_is_bought_without_holding_anyone_up() -> None:
    shop = SlowShop()
    catalogue = Catalogue(shop, max_age_s=0.0)
    before = await catalogue.current()
    event = Event(event_id="e", kind=EventKind.PURCHASE, product_id="p07", customer_id="c")
    await shop.bought.append([event])
    shop.gate.clear()
    # The renewal is held; the old snapshot serves meanwhile.
    assert await catalogue.current() is before
    shop.gate.set()
    await renewed(catalogue)
    assert next((await catalogue.current()).popular()).product_id == "p07"


async def test_a_failed_renewal_keeps_the_old_catalogue_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = SlowShop()
    catalogue = Catalogue(shop, max_age_s=0.0)
    before = await catalogue.current()
    shop.broken = True
    await renewed(catalogue)
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (logging.WARNING, "catalogue is not renewed")
    ]
    assert await catalogue.current() is before
    await renewed(catalogue)


async def test_without_any_catalogue_the_store_is_to_blame_and_the_next_call_tries_again() -> None:
    shop = SlowShop()
    shop.broken = True
    catalogue = Catalogue(shop)
    with pytest.raises(StoreUnavailable):
        await catalogue.current()
    shop.broken = False
    assert len((await catalogue.current()).products) == len(PRODUCTS)


def test_the_model_in_memory_never_proposes_padding() -> None:
    outputs = next_in_line({"history": np.zeros((1, HISTORY_LENGTH), np.int64)}, 4)
    assert outputs["item_indexes"].min() >= 1

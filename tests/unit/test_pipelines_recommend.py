import asyncio

import pytest

from serving.context import RequestContext
from serving.errors import InvalidRequest
from serving.pipelines.recommend import RecommendInput
from serving.types import Candidate, EventKind
from tests.fakes.world import PRODUCTS, World, build_world, context

VIEW, CART, BOUGHT = EventKind.VIEW, EventKind.ADD_TO_CART, EventKind.PURCHASE


@pytest.fixture
def world() -> World:
    return build_world()


async def recommend(
    world: World,
    customer_id: str = "alice",
    session_id: str = "",
    top_k: int = 5,
    category: str = "",
    request: RequestContext | None = None,
) -> tuple[Candidate, ...]:
    return await world.pipelines.recommend(
        RecommendInput(
            customer_id=customer_id, session_id=session_id, top_k=top_k, category=category
        ),
        request or context(),
    )


def ids(items: tuple[Candidate, ...]) -> list[str]:
    return [item.product.product_id for item in items]


async def test_an_event_changes_the_very_next_recommendation(world: World) -> None:
    before = await recommend(world)
    await world.happens(VIEW, "p20", customer_id="alice")
    after = await recommend(world)
    assert ids(before) != ids(after)
    assert after[0].product.category == "home/kitchen/mugs"
    assert after[0].reason == "because you looked at Green Mug 20"
    await world.happens(VIEW, "p03", "p08", "p13", customer_id="alice")
    assert (await recommend(world))[0].product.category == "garden/tools/spades"


async def test_a_visitors_session_counts_like_a_customers_history(world: World) -> None:
    await world.happens(VIEW, "p20", session_id="visit")
    request = context()
    items = await recommend(world, customer_id="", session_id="visit", request=request)
    assert items[0].reason.startswith("because you looked at")
    assert request.degraded == []


async def test_scores_lie_in_0_to_1_and_every_item_has_its_reason(world: World) -> None:
    await world.happens(VIEW, "p20", "p03", customer_id="alice")
    for top_k in (1, 5, 100):
        items = await recommend(world, top_k=top_k)
        assert len(items) == min(top_k, len(PRODUCTS))
        assert len(set(ids(items))) == len(items)
        assert all(0.0 <= item.score <= 1.0 and item.reason for item in items)


async def test_the_same_state_gives_the_same_items(world: World) -> None:
    await world.happens(VIEW, "p20", "p03", customer_id="alice")
    assert await recommend(world) == await recommend(world)


async def test_what_was_bought_or_lies_in_the_cart_is_not_recommended_again(world: World) -> None:
    await world.happens(BOUGHT, "p05", customer_id="alice")
    await world.happens(CART, "p10", customer_id="alice")
    shown = ids(await recommend(world, top_k=30))
    assert not {"p05", "p10"} & set(shown)
    assert len(shown) == len(PRODUCTS) - 2
    await world.happens(EventKind.REMOVE_FROM_CART, "p10", customer_id="alice")
    assert "p10" in ids(await recommend(world, top_k=30))


@pytest.mark.parametrize("category", ["home/kitchen", "home/kitchen/", "garden/tools/spades"])
async def test_a_category_holds_and_is_filled_up_with_what_is_popular_in_it(
    world: World, category: str
) -> None:
    await world.happens(VIEW, "p00", customer_id="alice")
    items = await recommend(world, top_k=20, category=category)
    inside = category.strip("/")
    expected = [p for p in PRODUCTS if f"{p.category}/".startswith(f"{inside}/")]
    assert sorted(ids(items)) == sorted(p.product_id for p in expected)


async def test_filling_up_goes_below_the_ranked_items(world: World) -> None:
    # Knows one candidate only, so that popular products follow.
    whole = world.models.functions["candidates"]
    world.models.functions["candidates"] = lambda inputs: {
        name: values[:, :1] for name, values in whole(inputs).items()
    }
    await world.happens(VIEW, "p20", customer_id="alice")
    first, *filling = await recommend(world, top_k=4)
    assert first.product.product_id == "p21"
    assert ids(tuple(filling)) == ["p04", "p09", "p14"]
    assert [item.reason for item in filling][:1] == ["popular in garden/water"]
    scores = [first.score, *(item.score for item in filling)]
    assert scores == sorted(scores, reverse=True)


async def test_a_head_does_not_hold_one_kind_of_product_only(world: World) -> None:
    await world.happens(VIEW, "p00", "p05", "p10", customer_id="alice")
    items = await recommend(world, top_k=5)
    mugs = [item for item in items if item.product.category == "home/kitchen/mugs"]
    assert len(mugs) == 2


async def test_an_unknown_category_is_refused_by_name(world: World) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await recommend(world, category="home/spaceships")
    assert caught.value.field == "category"
    assert "home/spaceships" in caught.value.message


async def test_an_unknown_customer_gets_popular_items_and_the_reply_says_why(
    world: World,
) -> None:
    request = context()
    items = await recommend(world, customer_id="nobody", top_k=3, request=request)
    # p14 sells better than p03, but would be the second hose.
    assert ids(items) == ["p04", "p03", "p00"]
    assert all(item.reason.startswith("popular in") for item in items)
    assert [(d.step, d.reason, d.fallback) for d in request.degraded] == [
        ("history", "customer 'nobody' is unknown", "popular items")
    ]


async def test_an_unknown_customer_with_a_session_keeps_the_session(world: World) -> None:
    await world.happens(VIEW, "p20", session_id="visit")
    request = context()
    items = await recommend(world, customer_id="nobody", session_id="visit", request=request)
    assert items[0].reason.startswith("because you looked at")
    assert [d.fallback for d in request.degraded] == ["the session's history"]


async def test_a_new_customer_without_a_past_is_no_degradation(world: World) -> None:
    request = context()
    assert await recommend(world, customer_id="bob", request=request)
    assert request.degraded == []


async def test_cancelling_leaves_nothing_running(world: World) -> None:
    await world.happens(VIEW, "p20", customer_id="alice")
    waiting = world.models.hold("ranker")
    task = asyncio.create_task(recommend(world))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}

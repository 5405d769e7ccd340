"""The synthetic shop: shape, consistency, and that a seed says everything."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from model_build.data.articles import make_articles
from model_build.data.catalogue import make_products, read_leaves
from model_build.data.customers import HISTORY_END, make_customer_ids, simulate_histories
from model_build.data.digest import shop_digest
from model_build.data.orders import KNOWN_ORDER_NUMBER, add_working_days
from model_build.data.policy import SHOP_POLICY
from model_build.data.shop import CUSTOMERS, ORDERS, synthetic_shop
from model_build.data.types import Shop
from serving.dialogue.intents import INTENTS
from serving.types import EventKind


def _tiny_shop(seed: int) -> Shop:
    return synthetic_shop(seed, customers=80, orders=60)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return synthetic_shop(7, customers=400, orders=300)


def test_is_as_large_as_promised(shop: Shop) -> None:
    assert len(shop.products) >= 2_400
    assert len(shop.articles) >= 320
    # The whole size takes seconds; here a smaller shop shows that sizes are kept to.
    assert CUSTOMERS >= 5_000
    assert ORDERS >= 4_000
    assert (len(shop.customer_ids), len(shop.orders)) == (400, 300)


def test_category_tree_has_three_levels_and_no_thin_leaf(shop: Shop) -> None:
    per_leaf = Counter(p.category for p in shop.products)
    assert len(per_leaf) >= 60
    assert min(per_leaf.values()) >= 25
    for path in per_leaf:
        levels = path.split("/")
        assert len(levels) == 3
        assert all(level and level == level.lower() for level in levels)
    # A node is either a leaf or has children, and no level repeats its parent's name.
    assert {path.rsplit("/", 1)[0] for path in per_leaf}.isdisjoint(per_leaf)


def test_products_are_told_apart_and_priced(shop: Shop) -> None:
    assert len({p.product_id for p in shop.products}) == len(shop.products)
    assert len({p.title for p in shop.products}) == len(shop.products)
    for product in shop.products:
        assert product.title.startswith(product.brand)
        assert 100 <= product.price_cents <= 100_000
        assert product.currency == "EUR"


def test_premium_brands_cost_more_in_every_department(shop: Shop) -> None:
    tier_of = {b.name: b.tier for leaf in read_leaves() for b in leaf.brands}
    prices: dict[tuple[str, int], list[int]] = defaultdict(list)
    for product in shop.products:
        prices[product.category, tier_of[product.brand]].append(product.price_cents)
    dearer = [
        np.median(prices[leaf.path, 2]) > np.median(prices[leaf.path, 0])
        for leaf in read_leaves()
        if prices[leaf.path, 0] and prices[leaf.path, 2]
    ]
    assert np.mean(dearer) > 0.9


def test_every_intent_that_wants_an_answer_has_articles() -> None:
    topics = Counter(article.topic for article in make_articles())
    assert set(topics) <= set(INTENTS)
    for intent in INTENTS.values():
        if intent.wants_answer:
            assert topics[intent.name] >= 5, intent.name


def test_articles_are_whole_and_concrete() -> None:
    articles = make_articles()
    assert len({a.article_id for a in articles}) == len(articles)
    assert [a.article_id for a in articles] == sorted(a.article_id for a in articles)
    for article in articles:
        assert not set("{}\n") & set(article.title + article.body), article.article_id
        assert 8 <= len(article.body.split()) <= 120, article.article_id
        assert article.body[0].isupper() or article.body[0].isdigit(), article.article_id
        assert article.body.endswith((".", '"')), article.article_id
    with_figures = [a for a in articles if any(c.isdigit() for c in a.title + a.body)]
    assert len(with_figures) > 0.75 * len(articles)


def test_articles_agree_with_the_policy() -> None:
    texts = {a.article_id: a.body for a in make_articles()}
    fee = "3.50 EUR"
    assert SHOP_POLICY.texts()["late_cancel_fee"] == fee
    for article_id in (
        "cancel-order-how-do-i-cancel-an-order",
        "check-cancellation-fee-what-does-it-cost-to-cancel-an-order",
        "track-order-what-does-the-order-status-packed-mean",
    ):
        assert fee in texts[article_id]
    home = texts["delivery-period-how-long-does-delivery-to-ireland-take"]
    assert f"{SHOP_POLICY.standard_days_least} to {SHOP_POLICY.standard_days_most}" in home


def test_histories_are_in_time_order_within_the_year(shop: Shop) -> None:
    times = [i.occurred_at_ms for i in shop.interactions]
    assert times == sorted(times)
    end_ms = HISTORY_END.timestamp() * 1000
    # The last visit of a day may run a few hours past it.
    assert end_ms - 366 * 86_400_000 < times[0]
    assert times[-1] < end_ms + 86_400_000
    products = {p.product_id for p in shop.products}
    kinds = {kind.value for kind in EventKind}
    assert all(i.product_id in products and i.kind in kinds for i in shop.interactions)


def test_what_is_bought_was_viewed_and_put_into_the_cart_before(shop: Shop) -> None:
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for i in shop.interactions:
        before = seen[i.basket_id]
        if i.kind == EventKind.ADD_TO_CART:
            assert (EventKind.VIEW, i.product_id) in before
        if i.kind == EventKind.PURCHASE:
            assert (EventKind.ADD_TO_CART, i.product_id) in before
        before.add((i.kind, i.product_id))


def test_every_customer_has_bought_twice(shop: Shop) -> None:
    baskets = defaultdict(set)
    for i in shop.interactions:
        if i.kind == EventKind.PURCHASE:
            baskets[i.customer_id].add(i.basket_id)
    assert set(baskets) == set(shop.customer_ids)
    assert min(len(b) for b in baskets.values()) >= 2


def test_what_is_bought_next_follows_the_tree_of_complements(shop: Shop) -> None:
    category = {p.product_id: p.category for p in shop.products}
    follows = {leaf.path: set(leaf.next_paths) for leaf in read_leaves()}
    last: dict[str, str] = {}
    hits = steps = 0
    for i in shop.interactions:
        if i.kind != EventKind.PURCHASE:
            continue
        now = category[i.product_id]
        if i.customer_id in last:
            steps += 1
            hits += now in follows[last[i.customer_id]]
        last[i.customer_id] = now
    # By chance alone it would be about 3 of 82 leaves.
    assert hits / steps > 0.4


def test_few_products_make_many_of_the_sales(shop: Shop) -> None:
    sales = Counter(i.product_id for i in shop.interactions if i.kind == EventKind.PURCHASE)
    ordered = sorted(sales.values(), reverse=True)
    assert sum(ordered[: len(shop.products) // 10]) > 0.3 * sum(ordered)


def test_orders_have_consistent_numbers_dates_and_totals(shop: Shop) -> None:
    today = HISTORY_END.date()
    prices = {p.product_id: p.price_cents for p in shop.products}
    numbers = [o.order_number for o in shop.orders]
    assert len(set(numbers)) == len(numbers)
    customers = set(shop.customer_ids)
    for order in shop.orders:
        assert len(order.order_number) == 5
        assert order.order_number.isdigit()
        assert order.order_number[0] != "0"
        assert order.customer_id in customers
        placed, expected = (
            date.fromisoformat(order.placed_on),
            date.fromisoformat(order.expected_on),
        )
        assert placed < expected
        assert placed <= today or order.status == "placed"
        if order.status == "shipped":
            assert expected >= today > placed
        if order.status in {"delivered", "returned"}:
            assert expected < today
        fee = order.total_cents - sum(prices[p] for p in order.product_ids)
        assert fee in {0, SHOP_POLICY.delivery_fee_cents, SHOP_POLICY.express_fee_cents}
    assert {o.status for o in shop.orders} == {
        "placed",
        "packed",
        "shipped",
        "delivered",
        "cancelled",
        "returned",
    }


@pytest.mark.parametrize("seed", [0, 2**31])
def test_the_known_order_is_on_its_way(seed: int) -> None:
    known = [o for o in _tiny_shop(seed).orders if o.order_number == KNOWN_ORDER_NUMBER]
    assert [o.status for o in known] == ["shipped"]


def test_orders_are_baskets_of_their_customers(shop: Shop) -> None:
    baskets: dict[str, list[str]] = defaultdict(list)
    for i in shop.interactions:
        if i.kind == EventKind.PURCHASE:
            baskets[i.basket_id].append(i.product_id)
    bought: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for basket_id, products in baskets.items():
        bought[basket_id.split("-")[0]].add(tuple(products))
    assert all(o.product_ids in bought[o.customer_id] for o in shop.orders)


def test_a_seed_says_everything() -> None:
    digest = shop_digest(_tiny_shop(7))
    assert shop_digest(_tiny_shop(7)) == digest
    assert shop_digest(_tiny_shop(8)) != digest


def test_the_digest_sees_every_part(shop: Shop) -> None:
    # A part of each is enough, and digested in no time.
    shop = replace(
        shop,
        products=shop.products[:50],
        articles=shop.articles[:50],
        interactions=shop.interactions[:500],
    )
    changed = [
        replace(shop, name="other"),
        replace(shop, products=shop.products[1:]),
        replace(shop, articles=shop.articles[1:]),
        replace(shop, customer_ids=shop.customer_ids[1:]),
        replace(shop, interactions=shop.interactions[1:]),
        replace(shop, orders=shop.orders[1:]),
    ]
    assert len({shop_digest(s) for s in [shop, *changed]}) == 1 + len(changed)


def test_too_few_baskets_for_the_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="1000 orders asked for, but there are"):
        synthetic_shop(1, customers=5, orders=1000)


def test_a_history_needs_no_other_customer() -> None:
    products = make_products(np.random.default_rng(1))
    few = simulate_histories(make_customer_ids(3), products, np.random.default_rng(2))
    assert {i.customer_id for i in few} == {"c00001", "c00002", "c00003"}


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        ("2026-10-30", 1, "2026-11-02"),  # Friday -> Monday
        ("2026-10-31", 1, "2026-11-02"),  # Saturday -> Monday
        ("2026-10-26", 4, "2026-10-30"),
        ("2026-10-26", 0, "2026-10-26"),
    ],
)
def test_weekends_are_no_working_days(start: str, days: int, expected: str) -> None:
    assert add_working_days(date.fromisoformat(start), days).isoformat() == expected

"""Customers of the synthetic shop: hidden tastes -> visits of views, carts and purchases.

What a model can learn from it: a purchase in one leaf is often followed by one of the leaves named
in `next` (in the same visit or the next), consumables are bought again, customers stay with their
brands, price tier and departments, and popularity within a leaf follows Zipf's law. The rest is
chance, so that no model can be perfect.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from model_build.data.catalogue import Leaf, read_leaves
from model_build.data.types import Interaction
from serving.types import EventKind, Product

# The last moment of every synthetic history; fixed, so that a seed says everything.
HISTORY_END = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
HISTORY_DAYS = 365
# Bought again when used up, rather than once.
_CONSUMABLE_DEPARTMENTS = frozenset({"food", "beauty"})
_POPULARITY_EXPONENT = 0.9
# Factor on a product's weight for a favourite brand, and for each tier away from one's own.
_FAVOURITE_BRAND = 7.0
_OTHER_TIER = 0.35
# What leads a visit: the last purchase's complements, buying again, or one's own departments.
_FOLLOW_SHARE = 0.6
_AGAIN_SHARE = 0.15
_TO_CART = 0.65
_TO_PURCHASE = 0.85
_NEXT_IN_VISIT = 0.5


@dataclass(frozen=True, kw_only=True)
class Taste:
    """What drives one customer. Never shown to a model."""

    leaf_cumulative: tuple[float, ...]
    # Favourite brand by department.
    favourite_brand: dict[str, str]
    tier: int


@dataclass(frozen=True, kw_only=True)
class _Shelf:
    """Products of one leaf with their tiers and popularity weights."""

    leaf: Leaf
    products: tuple[Product, ...]
    tiers: tuple[int, ...]
    popularity: tuple[float, ...]
    next_cumulative: tuple[float, ...]


def make_customer_ids(count: int) -> tuple[str, ...]:
    """Ids of `count` customers: "c00001" and so on."""
    return tuple(f"c{number:05d}" for number in range(1, count + 1))


def simulate_histories(
    customer_ids: Sequence[str], products: Sequence[Product], rng: np.random.Generator
) -> tuple[Interaction, ...]:
    """Views, carts and purchases of all customers, in time order.

    Every customer has at least two visits with a purchase.
    """
    simulation = _Simulation(products, rng)
    interactions: list[Interaction] = []
    for customer_id in customer_ids:
        interactions.extend(simulation.history(customer_id))
    interactions.sort(key=lambda i: (i.occurred_at_ms, i.customer_id))
    return tuple(interactions)


class _Simulation:
    def __init__(self, products: Sequence[Product], rng: np.random.Generator) -> None:
        self._rng = rng
        leaves = read_leaves()
        self._position = {leaf.path: i for i, leaf in enumerate(leaves)}
        self._departments = sorted({leaf.path.split("/")[0] for leaf in leaves})
        self._leaf_popularity = rng.dirichlet(np.full(len(leaves), 4.0))
        self._shelves = [
            self._shelf(leaf, [p for p in products if p.category == leaf.path]) for leaf in leaves
        ]
        # Cumulative product weights by leaf, tier and favourite brand: few, drawn from often.
        self._weights: dict[tuple[int, int, str], tuple[float, ...]] = {}

    def _shelf(self, leaf: Leaf, products: list[Product]) -> _Shelf:
        tier_of = {brand.name: brand.tier for brand in leaf.brands}
        ranks = self._rng.permutation(len(products)) + 1.0
        # The first complement is followed most often.
        following = np.array([1.0 / (i + 1) for i in range(len(leaf.next_paths))])
        return _Shelf(
            leaf=leaf,
            products=tuple(products),
            tiers=tuple(tier_of[p.brand] for p in products),
            popularity=tuple((ranks**-_POPULARITY_EXPONENT).tolist()),
            next_cumulative=_cumulative(following),
        )

    def _taste(self) -> Taste:
        rng = self._rng
        # Few departments matter to one customer, and few leaves within them.
        by_department = dict(
            zip(
                self._departments,
                rng.dirichlet(np.full(len(self._departments), 0.3)).tolist(),
                strict=True,
            )
        )
        own = rng.gamma(0.4, size=len(self._shelves)) * self._leaf_popularity
        department_weights = np.array(
            [by_department[shelf.leaf.path.split("/")[0]] + 0.01 for shelf in self._shelves]
        )
        favourites = {}
        for shelf in self._shelves:
            department = shelf.leaf.path.split("/")[0]
            if department not in favourites:
                brands = shelf.leaf.brands
                favourites[department] = brands[int(rng.integers(len(brands)))].name
        return Taste(
            leaf_cumulative=_cumulative(own * department_weights + 1e-9),
            favourite_brand=favourites,
            tier=int(rng.choice(3, p=(0.35, 0.4, 0.25))),
        )

    def history(self, customer_id: str) -> list[Interaction]:
        """All interactions of one customer, in time order."""
        rng = self._rng
        taste = self._taste()
        visits = 3 + int(rng.geometric(0.13))
        interactions: list[Interaction] = []
        bought: list[int] = []
        purchases = 0
        for number, start in enumerate(self._visit_times(visits)):
            must_buy = purchases < 2 and number >= visits - 2
            leaf = self._visit_leaf(taste, bought)
            visit = self._visit(
                customer_id, f"{customer_id}-v{number + 1}", start, taste, leaf, bought, must_buy
            )
            purchases += any(i.kind == EventKind.PURCHASE for i in visit)
            interactions.extend(visit)
        return interactions

    def _visit_times(self, visits: int) -> list[datetime]:
        """Starts of the visits, at least two hours apart, mostly by day and towards the end."""
        rng = self._rng
        first_day = rng.integers(0, HISTORY_DAYS - 60)
        days = np.sort(rng.integers(first_day, HISTORY_DAYS, size=visits))
        midnight = HISTORY_END.replace(hour=0, minute=0) - timedelta(days=HISTORY_DAYS - 1)
        hours = np.clip(rng.normal(16, 4, size=visits), 6, 21)
        starts: list[datetime] = []
        for day, hour in zip(days.tolist(), hours.tolist(), strict=True):
            start = midnight + timedelta(days=int(day), seconds=int(hour * 3600))
            if starts and start - starts[-1] < timedelta(hours=2):
                start = starts[-1] + timedelta(hours=2, seconds=int(rng.integers(3600)))
            starts.append(start)
        return starts

    def _visit_leaf(self, taste: Taste, bought: list[int]) -> int:
        draw = float(self._rng.random())
        if bought and draw < _FOLLOW_SHARE:
            return self._next_leaf(bought[-1])
        if bought and draw < _FOLLOW_SHARE + _AGAIN_SHARE:
            again = bought[int(self._rng.integers(len(bought)))]
            if self._shelves[again].leaf.path.split("/")[0] in _CONSUMABLE_DEPARTMENTS:
                return again
        return _draw(taste.leaf_cumulative, float(self._rng.random()))

    def _next_leaf(self, leaf: int) -> int:
        shelf = self._shelves[leaf]
        step = _draw(shelf.next_cumulative, float(self._rng.random()))
        return self._position[shelf.leaf.next_paths[step]]

    def _visit(
        self,
        customer_id: str,
        basket_id: str,
        start: datetime,
        taste: Taste,
        leaf: int,
        bought: list[int],
        must_buy: bool,
    ) -> list[Interaction]:
        """One visit: products are viewed, some put into the cart, and the cart may be paid."""
        rng = self._rng
        now_ms = int(start.timestamp() * 1000)
        interactions: list[Interaction] = []
        cart: list[tuple[str, int]] = []

        def note(kind: EventKind, product_id: str, pause_s: int) -> None:
            nonlocal now_ms
            now_ms += 1000 * int(rng.integers(pause_s // 4, pause_s))
            interactions.append(
                Interaction(
                    customer_id=customer_id,
                    product_id=product_id,
                    kind=kind.value,
                    occurred_at_ms=now_ms,
                    basket_id=basket_id,
                )
            )

        while len(cart) < 6:
            viewed = [
                self._product(leaf, taste) for _ in range(1 + min(int(rng.geometric(0.55)), 4))
            ]
            for product_id in dict.fromkeys(viewed):
                note(EventKind.VIEW, product_id, 90)
            if must_buy or rng.random() < _TO_CART:
                if viewed[-1] not in {product_id for product_id, _ in cart}:
                    note(EventKind.ADD_TO_CART, viewed[-1], 40)
                    cart.append((viewed[-1], leaf))
                if rng.random() < _NEXT_IN_VISIT:
                    leaf = self._next_leaf(leaf)
                    continue
            break
        if cart and (must_buy or rng.random() < _TO_PURCHASE):
            for product_id, bought_leaf in cart:
                note(EventKind.PURCHASE, product_id, 8)
                bought.append(bought_leaf)
        return interactions

    def _product(self, leaf: int, taste: Taste) -> str:
        shelf = self._shelves[leaf]
        favourite = taste.favourite_brand[shelf.leaf.path.split("/")[0]]
        key = (leaf, taste.tier, favourite)
        if key not in self._weights:
            self._weights[key] = _cumulative(
                np.array(
                    [
                        popularity
                        * _OTHER_TIER ** abs(tier - taste.tier)
                        * (_FAVOURITE_BRAND if product.brand == favourite else 1.0)
                        for product, tier, popularity in zip(
                            shelf.products, shelf.tiers, shelf.popularity, strict=True
                        )
                    ]
                )
            )
        return shelf.products[_draw(self._weights[key], float(self._rng.random()))].product_id


def _cumulative(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    """Running sums of the weights, scaled to end at 1."""
    sums = np.cumsum(weights)
    return tuple((sums / sums[-1]).tolist())


def _draw(cumulative: tuple[float, ...], uniform: float) -> int:
    """Position of the weight that `uniform` in [0, 1) falls on."""
    return min(bisect.bisect_right(cumulative, uniform), len(cumulative) - 1)

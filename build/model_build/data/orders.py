"""Orders of the synthetic shop, made from the customers' last baskets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from model_build.data.policy import SHOP_POLICY
from model_build.data.types import Interaction
from serving.types import EventKind, Order, Product

# An order that is always there and on its way.
KNOWN_ORDER_NUMBER = "12345"
_FIRST_NUMBER, _LAST_NUMBER = 10_000, 99_999


@dataclass(frozen=True, kw_only=True)
class _Basket:
    customer_id: str
    placed_on: date
    product_ids: tuple[str, ...]


def make_orders(
    interactions: Sequence[Interaction],
    products: Sequence[Product],
    count: int,
    today: date,
    rng: np.random.Generator,
) -> tuple[Order, ...]:
    """Orders for the last `count` purchased baskets as they stand on `today`, oldest first.

    Order numbers have five digits and are not in time order, so that they do not give away how
    much the shop sells. `KNOWN_ORDER_NUMBER` is an order on its way.

    Raises:
        ValueError: there are fewer baskets, or none of them is on its way.
    """
    baskets = _last_baskets(interactions, count)
    prices = {p.product_id: p.price_cents for p in products}
    numbers = rng.choice(np.arange(_FIRST_NUMBER, _LAST_NUMBER + 1), size=count, replace=False)
    orders = []
    for basket, number in zip(baskets, numbers.tolist(), strict=True):
        express = rng.random() < 0.15
        expected_on = add_working_days(
            basket.placed_on,
            SHOP_POLICY.express_days if express else SHOP_POLICY.standard_days_most,
        )
        goods_cents = sum(prices[p] for p in basket.product_ids)
        orders.append(
            Order(
                order_number=str(number),
                customer_id=basket.customer_id,
                status=_status(basket.placed_on, expected_on, today, float(rng.random())),
                placed_on=basket.placed_on.isoformat(),
                expected_on=expected_on.isoformat(),
                product_ids=basket.product_ids,
                total_cents=goods_cents + SHOP_POLICY.delivery_fee_for(goods_cents, express),
            )
        )
    return _with_known_number(orders)


def add_working_days(start: date, days: int) -> date:
    """The date `days` working days (Monday to Friday) after `start`."""
    day = start
    while days > 0:
        day += timedelta(days=1)
        if day.weekday() < 5:
            days -= 1
    return day


def _last_baskets(interactions: Sequence[Interaction], count: int) -> list[_Basket]:
    bought: dict[str, list[Interaction]] = {}
    for interaction in interactions:
        if interaction.kind == EventKind.PURCHASE:
            bought.setdefault(interaction.basket_id, []).append(interaction)
    if len(bought) < count:
        raise ValueError(f"{count} orders asked for, but there are {len(bought)} baskets")
    # Dictionaries keep insertion order, and interactions are in time order.
    return [
        _Basket(
            customer_id=lines[0].customer_id,
            placed_on=datetime.fromtimestamp(lines[0].occurred_at_ms / 1000, UTC).date(),
            product_ids=tuple(line.product_id for line in lines),
        )
        for lines in list(bought.values())[-count:]
    ]


def status_by_age(placed_on: date, expected_on: date, today: date) -> str:
    """Status of an order with which nothing went wrong, on `today`."""
    age_days = (today - placed_on).days
    if age_days == 0:
        return "placed"
    if age_days == 1:
        return "packed"
    return "shipped" if expected_on >= today else "delivered"


def _status(placed_on: date, expected_on: date, today: date, draw: float) -> str:
    """Status by age; a few orders were cancelled, a few delivered ones came back."""
    if draw < 0.03:
        return "cancelled"
    if (today - expected_on).days > 5 and draw > 0.93:
        return "returned"
    return status_by_age(placed_on, expected_on, today)


def _with_known_number(orders: list[Order]) -> tuple[Order, ...]:
    """Gives `KNOWN_ORDER_NUMBER` to an order on its way, one of two products if there is such."""
    shipped = [o for o in orders if o.status == "shipped"]
    if not shipped:
        raise ValueError("no order is on its way")
    known = min(shipped, key=lambda o: (abs(len(o.product_ids) - 2), o.order_number))
    taken = {KNOWN_ORDER_NUMBER: known.order_number, known.order_number: KNOWN_ORDER_NUMBER}
    return tuple(
        Order(**{**vars(o), "order_number": taken.get(o.order_number, o.order_number)})
        for o in orders
    )

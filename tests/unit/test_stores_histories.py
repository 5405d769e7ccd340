"""Histories and popularity as every implementation keeps them: each event once."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from serving.types import Event, EventKind
from tests.store_kinds import TEXT, Stores

_numbers = itertools.count()


def view(event_id: str, **fields: Any) -> Event:
    fields = {"kind": EventKind.VIEW, "product_id": f"of-{event_id}", **fields}
    return Event(event_id=event_id, **fields)


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

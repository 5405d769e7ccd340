"""Histories are read in training as serving reads them, and nothing looks into the future."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.data.types import Interaction, Shop
from model_build.specs.candidates import HISTORY_LENGTH
from model_build.train.histories import (
    TARGETS,
    by_customer,
    encode_history,
    item_indexes,
    next_purchases,
    training_sequences,
)
from model_build.train.timeline import cut
from serving.types import Product
from tests.fakes.interactions import bought, visit

PRODUCTS = [f"p{i}" for i in range(8)]
INDEX = item_indexes(PRODUCTS)
KINDS = ("view", "add_to_cart", "remove_from_cart", "purchase")


@st.composite
def customers(draw: st.DrawFn) -> list[Interaction]:
    """Up to three customers with visits of any kind."""
    interactions: list[Interaction] = []
    for customer in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        for number in range(draw(st.integers(1, 30))):
            touches = draw(
                st.lists(
                    st.tuples(st.sampled_from(KINDS), st.sampled_from(PRODUCTS)),
                    min_size=1,
                    max_size=6,
                )
            )
            interactions.extend(visit(customer, number, *touches))
    return sorted(interactions, key=lambda i: i.occurred_at_ms)


@settings(max_examples=30)
@given(customers(), st.integers(0, 3))
def test_sequences_are_left_padded_and_teach_every_position_once(
    interactions: list[Interaction], seed: int
) -> None:
    inputs, targets = training_sequences(interactions, INDEX, np.random.default_rng(seed))
    assert inputs.shape[1:] == (HISTORY_LENGTH,)
    assert targets.shape[1:] == (HISTORY_LENGTH, TARGETS)
    for row, wanted in zip(inputs, targets, strict=True):
        filled = np.flatnonzero(row)
        assert (row[filled.min() :] > 0).all() if len(filled) else True
        assert wanted.any()
        # All targets of a position are there, or none.
        assert set((wanted > 0).sum(1).tolist()) <= {0, TARGETS}
    purchased = {
        c: {INDEX[i.product_id] for i in history if i.kind == "purchase"}
        for c, history in by_customer(interactions).items()
    }
    assert set(np.unique(targets).tolist()) - {0} <= set().union(*purchased.values(), set())
    # A position of a longer history stands in two windows and is taught in one.
    most = sum(len(history) for history in by_customer(interactions).values())
    assert int((targets[:, :, 0] > 0).sum()) <= most


@settings(max_examples=30)
@given(customers())
def test_targets_lie_ahead(interactions: list[Interaction]) -> None:
    """The last products of a history are never taught before they happen, nor after."""
    for history in by_customer(interactions).values():
        inputs, targets = training_sequences(history, INDEX, np.random.default_rng(1))
        if not len(inputs):
            continue
        # After the last touched product nothing is left to learn: there is no position for it.
        last_purchase = max(i for i, x in enumerate(history) if x.kind == "purchase")
        rest = {INDEX[x.product_id] for x in history[last_purchase + 1 :]}
        only_later = rest - {INDEX[x.product_id] for x in history[: last_purchase + 1]}
        assert not set(np.unique(targets).tolist()) & only_later


def test_what_is_on_the_screen_is_nothing_to_foretell() -> None:
    history = [
        *visit("a", 1, ("view", "p1"), ("add_to_cart", "p1"), ("view", "p2"), ("purchase", "p1")),
        *bought("a", 2, "p3"),
    ]
    inputs, targets = training_sequences(history, INDEX, np.random.default_rng(0))
    # Runs of one product are one entry: p1, p2, p1, p3.
    assert inputs[0, -4:].tolist() == [0, INDEX["p1"], INDEX["p2"], INDEX["p1"]]
    ahead = [set(row.tolist()) for row in targets[0, -4:]]
    # Before anything is known both purchases lie ahead; once p1 was looked at, only p3 does.
    assert ahead == [{2, 4}, {4}, {4}, {4}]


def test_products_that_left_the_cart_are_no_interest() -> None:
    history = [
        *visit("a", 1, ("view", "p1"), ("add_to_cart", "p1"), ("remove_from_cart", "p1")),
        *visit("a", 2, ("remove_from_cart", "p5"), ("view", "p2")),
    ]
    (found,) = next_purchases(history, bought("a", 3, "p3", "p3", "p4"))
    assert found.history == ("p1", "p2")
    assert found.has_already == frozenset()
    assert found.bought == ("p3", "p4")


def test_a_long_past_is_cut_as_serving_cuts_it() -> None:
    past = [i for n in range(60) for i in bought("a", n, PRODUCTS[n % 7])]
    (found,) = next_purchases(past, bought("a", 99, "p7"))
    assert len(found.history) == 50
    assert found.history[-1] == PRODUCTS[59 % 7]


def test_later_visits_see_the_earlier_ones() -> None:
    past = bought("a", 1, "p0")
    future = [
        *visit("a", 2, ("view", "p1")),
        *bought("a", 3, "p2"),
        *bought("a", 4, "p3"),
        *bought("b", 4, "p3"),
    ]
    first, second = next_purchases(past, future, most_per_customer=2)
    assert (first.history, first.bought) == (("p0", "p1"), ("p2",))
    assert (second.history, second.bought) == (("p0", "p1", "p2"), ("p3",))
    assert second.has_already == {"p0", "p2"}
    # Customer b has no past when the future begins.
    assert {f.customer_id for f in next_purchases(past, future, 5)} == {"a"}


def test_unknown_products_are_left_out_of_a_history() -> None:
    row = encode_history(["p1", "gone", "p2"], INDEX)
    assert row[-2:].tolist() == [INDEX["p1"], INDEX["p2"]]
    assert not row[:-2].any()
    assert not encode_history([], INDEX).any()


def test_nobody_learns_from_what_it_is_judged_by() -> None:
    rng = np.random.default_rng(2)
    ids = tuple(f"c{i}" for i in range(60))
    interactions = [
        interaction
        for number in range(40)
        for customer in ids
        for interaction in bought(customer, number, PRODUCTS[int(rng.integers(8))])
    ]
    interactions.sort(key=lambda i: (i.occurred_at_ms, i.customer_id))
    shop = Shop(
        name="x",
        products=tuple(
            Product(product_id=p, title=p, category="c", price_cents=1) for p in PRODUCTS
        ),
        articles=(),
        customer_ids=ids,
        interactions=tuple(interactions),
        orders=(),
    )
    for share in (1.0, 0.5):
        timeline = cut(shop, np.random.default_rng(3), share)
        begins = min(i.occurred_at_ms for i in timeline.held_out)
        learnt = set(timeline.candidates_train)
        assert max(i.occurred_at_ms for i in timeline.past) < begins
        assert max(i.occurred_at_ms for i in learnt) < begins
        # What the ranker is to foretell, the candidates model has not seen.
        assert timeline.ranker_window
        assert learnt.isdisjoint(timeline.ranker_window)
        window = min(i.occurred_at_ms for i in timeline.ranker_window)
        assert max(i.occurred_at_ms for i in timeline.ranker_past) < window
        assert len({i.customer_id for i in learnt}) <= 60 * share + 15
        assert len(timeline.past) + len(timeline.held_out) == len(interactions)

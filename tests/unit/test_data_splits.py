"""Splits by group and by time."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.data.shop import synthetic_shop
from model_build.data.splits import split_by_group, split_interactions_by_time
from model_build.data.types import Interaction, LabelledUtterance
from model_build.data.utterances import synthetic_utterances


def _utterance(number: int, intent: str | None, group: str) -> LabelledUtterance:
    return LabelledUtterance(
        text=f"text {number}",
        intent=intent,
        slots=None,
        sentiment=None,
        out_of_scope=intent is None,
        group=group,
    )


def _interaction(at_ms: int, basket: str, customer: str = "c") -> Interaction:
    return Interaction(
        customer_id=customer,
        product_id=f"p{at_ms}",
        kind="purchase",
        occurred_at_ms=at_ms,
        basket_id=basket,
    )


@settings(max_examples=60)
@given(
    sizes=st.dictionaries(
        st.sampled_from(["a", "b", None]),
        st.lists(st.integers(1, 9), min_size=2, max_size=9),
        min_size=1,
    ),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_groups_stay_whole_and_every_intent_is_on_both_sides(
    sizes: dict[str | None, list[int]], share: float, seed: int
) -> None:
    utterances = [
        _utterance(number, intent, f"{intent}/{group}")
        for intent, groups in sizes.items()
        for group, size in enumerate(groups)
        for number in range(size)
    ]
    split = split_by_group(utterances, share, np.random.default_rng(seed))
    assert sorted(u.group for u in (*split.train, *split.held_out)) == sorted(
        u.group for u in utterances
    )
    assert {u.group for u in split.train}.isdisjoint(u.group for u in split.held_out)
    assert {u.intent for u in split.train} == {u.intent for u in split.held_out} == set(sizes)


def test_generated_utterances_split_near_the_share_for_every_intent() -> None:
    shop = synthetic_shop(2, customers=150, orders=60)
    utterances = synthetic_utterances(shop, np.random.default_rng(2), 40)
    split = split_by_group(utterances, 0.2, np.random.default_rng(3))
    counts: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
    for side, part in enumerate((split.train, split.held_out)):
        for utterance in part:
            counts[utterance.intent][side] += 1
    assert len(counts) == 40
    for train, held_out in counts.values():
        assert 0.14 < held_out / (train + held_out) < 0.26


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="intent a: one group only"):
        split_by_group([_utterance(0, "a", "g")] * 3, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_shares_outside_of_the_open_interval_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="held_out_share must lie in"):
        split_by_group([], share, np.random.default_rng(0))
    with pytest.raises(ValueError, match="held_out_share must lie in"):
        split_interactions_by_time([], share)


@settings(max_examples=60)
@given(
    times=st.lists(st.integers(0, 50), min_size=2, max_size=60, unique=True),
    share=st.floats(0.05, 0.9),
    size=st.integers(1, 3),
)
def test_everything_held_out_begins_after_everything_in_training(
    times: list[int], share: float, size: int
) -> None:
    interactions = [_interaction(t, f"b{t // size}") for t in times]
    try:
        train, held_out = split_interactions_by_time(interactions, share)
    except ValueError:
        # Nothing lies before the basket in which the share begins.
        return
    assert sorted(i.occurred_at_ms for i in (*train, *held_out)) == sorted(times)
    assert train
    assert held_out
    assert {i.basket_id for i in train}.isdisjoint(i.basket_id for i in held_out)
    assert max(i.occurred_at_ms for i in train) < min(i.occurred_at_ms for i in held_out)


def test_a_basket_under_way_at_the_moment_stays_in_training() -> None:
    interactions = [
        _interaction(1, "early"),
        _interaction(2, "long"),
        _interaction(3, "late"),
        _interaction(4, "long"),
    ]
    train, held_out = split_interactions_by_time(interactions, 0.5)
    assert [i.occurred_at_ms for i in train] == [1, 2, 4]
    assert [i.occurred_at_ms for i in held_out] == [3]


def test_a_single_basket_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="one basket"):
        split_interactions_by_time([_interaction(t, "b") for t in range(5)], 0.2)


def test_synthetic_histories_are_cut_near_the_share() -> None:
    interactions = synthetic_shop(2, customers=150, orders=60).interactions
    train, held_out = split_interactions_by_time(interactions, 0.1)
    assert 0.09 < len(held_out) / len(interactions) < 0.11
    assert len(train) + len(held_out) == len(interactions)

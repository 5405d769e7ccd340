"""How two answers differ."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.replay.differences import Kind, Limits, differences, slot_differences
from serving.types import Sentiment, Slot, Understanding

LIMITS = Limits(out_of_scope_probability=0.6, confidence_step=0.2)


def answer(**changes: object) -> Understanding:
    values: dict[str, object] = {"intent": "track_order", "intent_confidence": 0.9}
    return Understanding(**{**values, **changes})  # type: ignore[arg-type]


def slot(name: str, start: int, end: int, confidence: float = 1.0) -> Slot:
    return Slot(
        name=name, value="x" * (end - start), start_char=start, end_char=end, confidence=confidence
    )


SIZE, COLOUR = slot("size", 0, 5), slot("colour", 6, 10)


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ({}, {}, ()),
        ({}, {"intent": "get_refund"}, (Kind.INTENT,)),
        # What the new intent's confidence is says nothing about the old one's.
        ({}, {"intent": "get_refund", "intent_confidence": 0.1}, (Kind.INTENT,)),
        ({}, {"intent_confidence": 0.71}, ()),
        ({}, {"intent_confidence": 0.7}, (Kind.CONFIDENCE,)),
        ({"intent_confidence": 0.3}, {"intent_confidence": 0.8}, (Kind.CONFIDENCE,)),
        ({}, {"sentiment": Sentiment.NEGATIVE}, (Kind.SENTIMENT,)),
        ({}, {"sentiment_confidence": 0.5}, ()),
        ({"out_of_scope_probability": 0.0}, {"out_of_scope_probability": 0.6}, ()),
        (
            {"out_of_scope_probability": 0.6},
            {"out_of_scope_probability": 0.61},
            (Kind.OUT_OF_SCOPE,),
        ),
        ({"out_of_scope_probability": 0.9}, {}, (Kind.OUT_OF_SCOPE,)),
        ({"slots": (SIZE,)}, {"slots": (SIZE, COLOUR)}, (Kind.SLOT_ADDED,)),
        ({"slots": (SIZE, COLOUR)}, {"slots": (COLOUR,)}, (Kind.SLOT_REMOVED,)),
        ({"slots": (SIZE,)}, {"slots": (slot("size", 0, 9),)}, (Kind.SLOT_CHANGED,)),
        (
            {"slots": (SIZE,), "out_of_scope_probability": 0.7},
            {"intent": "complaint", "sentiment": Sentiment.NEGATIVE},
            (Kind.INTENT, Kind.OUT_OF_SCOPE, Kind.SLOT_REMOVED, Kind.SENTIMENT),
        ),
    ],
)
def test_each_kind_is_told_from_the_others(
    first: dict[str, object], second: dict[str, object], kinds: tuple[Kind, ...]
) -> None:
    assert differences(answer(**first), answer(**second), LIMITS) == kinds


def test_an_answer_and_none_differ_and_nothing_else_can_be_said() -> None:
    assert differences(answer(), None, LIMITS) == (Kind.FAILED,)
    assert differences(None, answer(), LIMITS) == (Kind.FAILED,)
    assert differences(None, None, LIMITS) == ()


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ((), (), set()),
        ((SIZE, COLOUR), (COLOUR, SIZE), set()),
        # How sure it is of a slot is no difference.
        ((SIZE,), (slot("size", 0, 5, confidence=0.3),), set()),
        # The same name elsewhere.
        ((SIZE,), (slot("size", 20, 25),), {Kind.SLOT_CHANGED}),
        # The same words under another name.
        ((SIZE,), (slot("colour", 0, 5),), {Kind.SLOT_CHANGED}),
        ((SIZE,), (slot("colour", 4, 9),), {Kind.SLOT_CHANGED}),
        # Side by side is not overlapping.
        ((SIZE,), (slot("colour", 5, 9),), {Kind.SLOT_REMOVED, Kind.SLOT_ADDED}),
        # One of two of a name.
        ((SIZE, slot("size", 20, 25)), (SIZE,), {Kind.SLOT_REMOVED}),
        (
            (SIZE,),
            (slot("size", 20, 25), slot("size", 30, 35)),
            {Kind.SLOT_CHANGED, Kind.SLOT_ADDED},
        ),
        ((SIZE, COLOUR), (slot("size", 0, 4),), {Kind.SLOT_CHANGED, Kind.SLOT_REMOVED}),
    ],
)
def test_slots_are_paired_before_they_are_missed(
    first: tuple[Slot, ...], second: tuple[Slot, ...], kinds: set[Kind]
) -> None:
    assert slot_differences(first, second) == kinds


_SLOTS = st.lists(
    st.builds(slot, st.sampled_from(("size", "colour")), st.just(0), st.integers(1, 9))
    | st.builds(slot, st.sampled_from(("size", "colour")), st.integers(10, 12), st.just(20)),
    max_size=3,
)
_ANSWERS = st.none() | st.builds(
    answer,
    intent=st.sampled_from(("track_order", "get_refund")),
    intent_confidence=st.floats(0, 1),
    out_of_scope_probability=st.floats(0, 1),
    sentiment=st.sampled_from(Sentiment),
    slots=_SLOTS.map(tuple),
)
_MIRRORED = {Kind.SLOT_ADDED: Kind.SLOT_REMOVED, Kind.SLOT_REMOVED: Kind.SLOT_ADDED}


@given(_ANSWERS, _ANSWERS)
def test_the_other_way_round_added_is_removed_and_the_rest_the_same(
    first: Understanding | None, second: Understanding | None
) -> None:
    forth, back = differences(first, second, LIMITS), differences(second, first, LIMITS)
    # Pairs of slots may be chosen otherwise; whether there is a difference may not depend on it.
    slots = {Kind.SLOT_ADDED, Kind.SLOT_REMOVED, Kind.SLOT_CHANGED}
    assert set(forth) - slots == set(back) - slots
    assert bool(set(forth) & slots) == bool(set(back) & slots)
    if Kind.SLOT_CHANGED not in forth:
        assert {_MIRRORED[kind] for kind in set(forth) & slots} == set(back) & slots
    assert list(forth) == [kind for kind in Kind if kind in forth]


@given(_ANSWERS)
def test_nothing_differs_from_itself(one: Understanding | None) -> None:
    assert differences(one, one, LIMITS) == ()


def test_every_kind_can_be_found() -> None:
    first = answer(slots=(SIZE,), out_of_scope_probability=0.9)
    others = [
        None,
        answer(intent="complaint", sentiment=Sentiment.NEGATIVE),
        answer(intent_confidence=0.1, slots=(slot("size", 0, 4), COLOUR)),
    ]
    found = itertools.chain.from_iterable(differences(first, other, LIMITS) for other in others)
    assert set(found) == set(Kind)

"""The stored form of a conversation's state."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dialogue.state import DialogueState
from serving.errors import Internal
from serving.types import Slot

STATES = st.builds(
    DialogueState,
    turn=st.integers(0, 10**9),
    active_intent=st.text(max_size=30),
    slots=st.lists(
        st.builds(
            Slot,
            name=st.text(min_size=1, max_size=20),
            value=st.text(max_size=50),
            start_char=st.integers(0, 5000),
            end_char=st.integers(0, 5000),
            confidence=st.floats(0, 1),
        ),
        max_size=6,
    ).map(tuple),
    requested_slot=st.text(max_size=20),
    failures_in_a_row=st.integers(0, 100),
    unheard_in_a_row=st.integers(0, 100),
    negativity=st.floats(0, 1),
    escalated=st.booleans(),
)


@given(STATES)
def test_a_state_survives_its_stored_form(state: DialogueState) -> None:
    assert DialogueState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_fields_that_are_missing_have_their_default() -> None:
    assert DialogueState.from_json({"version": 1}) == DialogueState()
    slot = {"name": "colour", "value": "red"}
    assert DialogueState.from_json({"version": 1, "slots": [slot]}).slots == (
        Slot(name="colour", value="red"),
    )


def test_fields_that_a_later_release_added_are_passed_over() -> None:
    stored = DialogueState(turn=3).to_json() | {"mood": "sunny"}
    assert DialogueState.from_json(stored) == DialogueState(turn=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: is 2, this release reads 1"),
        ({"version": None}, "version: must be int, is None"),
        ({"version": "1"}, "version: must be int, is '1'"),
        ({"turn": -1}, "turn: must not be negative, is -1"),
        ({"turn": True}, "turn: must be int, is True"),
        ({"turn": 1.5}, "turn: must be int, is 1.5"),
        ({"active_intent": None}, "active_intent: must be str, is None"),
        ({"slots": {}}, "slots: must be list"),
        ({"slots": [3]}, "slots: has an entry without a name"),
        ({"slots": [{"value": "x"}]}, "slots: has an entry without a name"),
        ({"slots": [{"name": "x", "value": 3}]}, "value: must be str, is 3"),
        ({"slots": [{"name": "x", "confidence": 2}]}, r"confidence: must lie in \[0, 1\], is 2"),
        ({"negativity": float("nan")}, r"negativity: must lie in \[0, 1\], is nan"),
        ({"negativity": "much"}, r"negativity: must lie in \[0, 1\], is 'much'"),
        ({"escalated": 1}, "escalated: must be bool, is 1"),
    ],
)
def test_what_is_no_state_of_this_release_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Internal, match=f"^dialogue state: {message}"):
        DialogueState.from_json(DialogueState().to_json() | change)


def test_an_empty_object_is_no_state() -> None:
    with pytest.raises(Internal, match="version: is 0, this release reads 1"):
        DialogueState.from_json({})

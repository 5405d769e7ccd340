"""Whole conversations, turn by turn: what is said, what the model makes of it, what follows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dialogue.intents import INTENT_NAMES, INTENTS, SLOT_NAMES
from serving.dialogue.policy import (
    ASKS_FOR_HUMAN,
    NOT_HEARD,
    NOT_UNDERSTOOD_AGAIN,
    WITH_A_HUMAN_ALREADY,
    TurnPlan,
    close_turn,
    plan_turn,
)
from serving.dialogue.state import DialogueState
from serving.settings import DialogueSettings
from serving.types import Action, Decision, Slot, Understanding

SETTINGS = DialogueSettings()
ESCALATE = Action.ESCALATE


@dataclass(frozen=True)
class Turn:
    """One turn and what is expected of it; `...` expects nothing."""

    text: str
    # None: the model does not answer.
    intent: str | None
    slots: dict[str, str] = field(default_factory=dict)
    confidence: float = 0.9
    out_of_scope: float = 0.05
    negative: float = 0.1
    # What the decision is, unless the plan forces one.
    decided: Action = Action.NONE
    matter: Any = ...
    asks: Any = ...
    order: Any = ...
    known: Any = ...
    forced: Any = None
    wants: Any = ...
    failures: Any = ...
    escalated: Any = ...


def heard(turn: Turn) -> Understanding | None:
    if turn.intent is None:
        return None
    slots = []
    for name, value in turn.slots.items():
        start = turn.text.index(value)
        slots.append(Slot(name=name, value=value, start_char=start, end_char=start + len(value)))
    return Understanding(
        intent=turn.intent,
        intent_confidence=turn.confidence,
        slots=tuple(slots),
        sentiment_probabilities=(turn.negative, 1 - turn.negative, 0.0),
        out_of_scope_probability=turn.out_of_scope,
    )


def hold(turns: list[Turn]) -> Iterator[tuple[Turn, TurnPlan, DialogueState]]:
    """Holds the conversation; the state goes through its stored form after every turn."""
    state = DialogueState()
    for turn in turns:
        plan = plan_turn(state, heard(turn), turn.text, SETTINGS)
        action = plan.forced_action or turn.decided
        state = close_turn(plan, Decision(action=action, probability=1.0))
        yield turn, plan, state
        state = DialogueState.from_json(state.to_json())


def unclear(text: str, **expected: Any) -> Turn:
    return Turn(text, "review", confidence=0.2, **expected)


def told(text: str, **expected: Any) -> Turn:
    return Turn(text, "give_information", **expected)


TRACK = Turn("where is my order?", "track_order", matter="track_order", asks="order_number")
CONVERSATIONS = {
    "a slot is asked for, filled by the model's slot and acted on": [
        Turn("hello", "greeting", matter="greeting", asks="", wants=""),
        Turn("track my order", "track_order", asks="order_number", wants="", order=""),
        told("it's 12345", slots={"order_number": "12345"}, order="12345", asks="", wants="order"),
        Turn("thanks", "thanks", matter="thanks", wants="", known={"order_number": "12345"}),
    ],
    "a bare number that the model took for information fills the slot": [
        TRACK,
        told("12345", matter="track_order", order="12345", wants="order"),
    ],
    "a bare number that the model did not understand fills the slot": [
        TRACK,
        unclear("12345", matter="track_order", order="12345", failures=0),
    ],
    "a bare number out of scope fills the slot": [
        TRACK,
        Turn("#12345", "review", out_of_scope=0.99, matter="track_order", order="12345"),
    ],
    "a bare number taken for another matter fills the slot": [
        TRACK,
        Turn("it's 12345 I think", "payment_issue", matter="track_order", order="12345"),
    ],
    "a number with thanks fills the slot": [
        TRACK,
        Turn("12345, thanks", "thanks", matter="track_order", order="12345"),
    ],
    "the same request again with the number fills the slot": [
        TRACK,
        Turn(
            "where is order no. 12345?",
            "track_order",
            {"order_number": "no. 12345"},
            order="12345",
        ),
    ],
    "a number is found although the model is down": [
        TRACK,
        Turn("12345", None, matter="track_order", order="12345", wants="order", failures=0),
    ],
    "the question stays when it is not answered": [
        TRACK,
        Turn("but where is my order?", "track_order", asks="order_number", wants=""),
        Turn("ok thanks", "thanks", asks="order_number", matter="thanks"),
        told("no. 12345", order="12345"),
    ],
    "not knowing the number twice leads to a person": [
        TRACK,
        told("I don't know it", asks="order_number", matter="", failures=1),
        told("no idea", forced=(ESCALATE, NOT_UNDERSTOOD_AGAIN), escalated=True),
    ],
    "another matter abandons the question": [
        TRACK,
        Turn("how do I pay?", "check_payment_methods", asks="", wants="answer"),
        told("12345", matter="give_information", asks=""),
    ],
    "another matter with a number is that matter": [
        TRACK,
        Turn("cancel order 12345", "cancel_order", {"order_number": "12345"}, order="12345"),
    ],
    "goodbye ends the matter and the question": [
        TRACK,
        Turn("goodbye", "goodbye", matter="goodbye", asks=""),
        unclear("12345", matter="", asks="", failures=1),
    ],
    "the order number carries over to other matters, in its normal form": [
        Turn("track #12 345", "track_order", {"order_number": "#12 345"}, order="12345", asks=""),
        Turn("I want a refund", "get_refund", order="12345", asks="", wants="order answer"),
        Turn("how long does delivery take?", "delivery_period", order="", wants="answer"),
        Turn("cancel it", "cancel_order", order="12345"),
        Turn("no, cancel 67890", "cancel_order", {"order_number": "67890"}, order="67890"),
        Turn("where is it?", "track_order", order="67890"),
    ],
    "another number said alone continues the matter": [
        Turn("track 12345", "track_order", {"order_number": "12345"}, order="12345"),
        told("and 67890?", slots={"order_number": "67890"}, matter="track_order", order="67890"),
    ],
    "information that belongs to nothing is remembered": [
        told("12345", slots={"order_number": "12345"}, matter="give_information", wants=""),
        Turn("cancel it", "cancel_order", order="12345", asks=""),
    ],
    "details refine a search, a new product drops them": [
        Turn("find mugs", "search_product", {"product": "mugs"}, wants="items"),
        told(
            "in blue",
            slots={"colour": "blue"},
            matter="search_product",
            wants="items",
            known={"product": "mugs", "colour": "blue"},
        ),
        unclear(
            "rather red, 40 cm",
            slots={"colour": "red", "size": "40 cm"},
            matter="search_product",
            known={"product": "mugs", "colour": "red", "size": "40 cm"},
        ),
        Turn("find shoes", "search_product", {"product": "shoes"}, known={"product": "shoes"}),
    ],
    "slots of the same group are kept, those of another dropped but the number": [
        Turn("order 12345 late", "track_order", {"order_number": "12345"}),
        Turn("find red mugs", "search_product", {"product": "mugs", "colour": "red"}),
        Turn(
            "do you have them?",
            "check_availability",
            asks="",
            known={"order_number": "12345", "product": "mugs", "colour": "red"},
        ),
        Turn("how do I pay?", "check_payment_methods", known={"order_number": "12345"}),
    ],
    "a product is asked for and answered in free words": [
        Turn("do you have it?", "check_availability", asks="product", wants=""),
        told("a coffee mug please", known={"product": "coffee mug"}, wants="items", asks=""),
    ],
    "a complaint is no product": [
        Turn("do you have it?", "check_availability", asks="product"),
        Turn("this is terrible", "complaint", matter="complaint", asks=""),
    ],
    "goodbye is no product": [
        Turn("do you have it?", "check_availability", asks="product"),
        Turn("goodbye", "goodbye", matter="goodbye", asks="", known={}),
    ],
    "talk out of scope is no product": [
        Turn("do you have it?", "check_availability", asks="product"),
        Turn("chess championship", "review", out_of_scope=0.9, matter="", asks="product"),
    ],
    "two turns in a row that are not understood lead to a person": [
        unclear("blub", matter="", failures=1, wants="", escalated=False),
        unclear("blab", forced=(ESCALATE, NOT_UNDERSTOOD_AGAIN), escalated=True),
    ],
    "an understood turn in between begins the count anew": [
        unclear("blub", failures=1),
        Turn("hello", "greeting", failures=0),
        unclear("blub", failures=1),
        Turn("the moon", "review", out_of_scope=0.9, forced=(ESCALATE, NOT_UNDERSTOOD_AGAIN)),
    ],
    "an intent that nobody knows is not understood": [
        Turn("x", "dance", matter="", failures=1),
    ],
    "asking for a person is granted at once, also in the middle of a question": [
        TRACK,
        Turn(
            "a human please",
            "contact_human_agent",
            matter="contact_human_agent",
            asks="",
            forced=(ESCALATE, ASKS_FOR_HUMAN),
            escalated=True,
        ),
    ],
    "a person has it until a new request is understood": [
        Turn("human", "contact_human_agent", forced=(ESCALATE, ASKS_FOR_HUMAN)),
        unclear("blub", forced=(ESCALATE, WITH_A_HUMAN_ALREADY), escalated=True),
        told("12345", forced=(ESCALATE, WITH_A_HUMAN_ALREADY), escalated=True),
        Turn("x", None, forced=(ESCALATE, WITH_A_HUMAN_ALREADY), escalated=True),
        Turn("thanks", "thanks", forced=None, escalated=True),
        Turn("how do I pay?", "check_payment_methods", forced=None, escalated=False),
        unclear("blub", failures=1, forced=None),
    ],
    "a person by the model's own decision takes the matter over": [
        Turn(
            "where is it!",
            "track_order",
            decided=ESCALATE,
            asks="order_number",
            escalated=True,
        ),
        told("12345", forced=(ESCALATE, WITH_A_HUMAN_ALREADY)),
    ],
    "a model that fails once is no failure of the customer": [
        unclear("blub", failures=1),
        Turn("mugs", None, forced=(Action.CLARIFY, NOT_HEARD), failures=1),
        Turn("find mugs", "search_product", {"product": "mugs"}, failures=0),
    ],
    "a model that keeps failing leads to a person": [
        Turn("mugs", None, forced=(Action.CLARIFY, NOT_HEARD), failures=0),
        Turn("mugs", None, forced=(Action.CLARIFY, NOT_HEARD), failures=1),
        Turn("mugs", None, forced=(ESCALATE, NOT_UNDERSTOOD_AGAIN)),
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name: str) -> None:
    for number, (turn, plan, state) in enumerate(hold(CONVERSATIONS[name]), start=1):
        forced = (plan.forced_action, plan.forced_reason) if plan.forced_action else None
        wants = {
            "order": plan.wants_order,
            "answer": plan.wants_answer,
            "items": plan.wants_items,
        }
        found = {
            "matter": plan.intent,
            "asks": plan.missing_slot,
            "order": plan.order_number,
            "known": {slot.name: slot.value for slot in plan.state.slots},
            "forced": forced,
            "wants": " ".join(what for what, wanted in wants.items() if wanted),
            "failures": plan.state.failures_in_a_row,
            "escalated": state.escalated,
        }
        expected = {key: getattr(turn, key) for key in found if getattr(turn, key) is not ...}
        assert {key: found[key] for key in expected} == expected, f"turn {number}: {turn.text}"
        assert state.turn == number


def test_slots_have_their_span_in_the_turn_that_said_them_only() -> None:
    turns = [
        Turn("where is 12345?", "track_order", {"order_number": "12345"}),
        Turn("cancel it", "cancel_order"),
    ]
    spans = [
        [(slot.start_char, slot.end_char) for slot in plan.state.slots]
        for _, plan, _ in hold(turns)
    ]
    assert spans == [[(9, 14)], [(0, 0)]]
    assert all(slot.end_char == 0 for _, _, state in hold(turns) for slot in state.slots)


def test_a_found_answer_has_its_span_in_the_text() -> None:
    (*_, (turn, plan, _)) = hold([TRACK, told("it's #12345 I think")])
    (slot,) = plan.state.slots
    assert turn.text[slot.start_char : slot.end_char] == "#12345"


def test_anger_builds_up_and_fades() -> None:
    moods = [0.9, 0.9, 0.9, 0.0, 0.0, 0.0]
    turns = [Turn("hello", "greeting", negative=mood) for mood in moods]
    path = [plan.state.negativity for _, plan, _ in hold(turns)]
    assert path == pytest.approx([0.45, 0.675, 0.7875, 0.39375, 0.196875, 0.0984375])
    (*_, (_, plan, _)) = hold([*turns[:1], Turn("x", None)])
    assert plan.state.negativity == pytest.approx(0.45)


@pytest.mark.parametrize("max_failures", [1, 2, 3, 5])
def test_the_setting_says_how_many_failures_lead_to_a_person(max_failures: int) -> None:
    settings = DialogueSettings(max_failures=max_failures)
    state = DialogueState()
    for number in range(1, max_failures + 1):
        plan = plan_turn(state, heard(unclear("blub")), "blub", settings)
        assert (plan.forced_action is ESCALATE) == (number == max_failures)
        state = close_turn(plan, Decision(action=Action.CLARIFY, probability=1.0))


def test_a_slot_the_model_is_not_sure_of_is_passed_over() -> None:
    doubtful = Slot(name="colour", value="red", start_char=0, end_char=3, confidence=0.3)
    surer = Slot(name="colour", value="Blue", start_char=8, end_char=12, confidence=0.8)
    understanding = Understanding(
        intent="recommend_product", intent_confidence=0.9, slots=(surer, doubtful)
    )
    plan = plan_turn(DialogueState(), understanding, "red, no blue", SETTINGS)
    assert [(slot.name, slot.value) for slot in plan.state.slots] == [("colour", "blue")]


# ---- anything at all ----------------------------------------------------------------------------

SHARE = st.floats(0, 1)
SLOTS = st.builds(
    Slot,
    name=st.sampled_from([*SLOT_NAMES, "unheard of"]),
    value=st.text(max_size=300),
    start_char=st.integers(0, 50),
    end_char=st.integers(0, 50),
    confidence=SHARE,
)
UNDERSTANDINGS = st.none() | st.builds(
    Understanding,
    intent=st.sampled_from([*INTENT_NAMES, "unheard of"]),
    intent_confidence=SHARE,
    slots=st.lists(SLOTS, max_size=5).map(tuple),
    sentiment_probabilities=st.tuples(SHARE, SHARE, SHARE),
    out_of_scope_probability=SHARE,
)
TEXTS = st.text(max_size=300) | st.sampled_from(["12345", "a red mug", "no idea", "x" * 100_000])


@given(st.lists(st.tuples(TEXTS, UNDERSTANDINGS, st.sampled_from(Action)), min_size=1, max_size=8))
def test_any_conversation_can_be_held(
    turns: list[tuple[str, Understanding | None, Action]],
) -> None:
    state = DialogueState()
    for text, understanding, decided in turns:
        before = state
        plan = plan_turn(state, understanding, text, SETTINGS)
        action = plan.forced_action or decided
        state = close_turn(plan, Decision(action=action, probability=1.0))
        assert DialogueState.from_json(state.to_json()) == state
        assert state.turn == before.turn + 1
        assert 0 <= state.negativity <= 1
        assert plan.understood == (plan.intent in INTENTS)
        assert plan.state.requested_slot == plan.missing_slot
        assert state.escalated or action is not ESCALATE
        names = [slot.name for slot in state.slots]
        assert len(set(names)) == len(names)
        assert set(names) <= set(SLOT_NAMES)
        assert all(0 < len(slot.value) <= 200 for slot in state.slots)
        if plan.missing_slot:
            assert plan.missing_slot not in names
            assert not (plan.wants_answer or plan.wants_items or plan.wants_order)
        if plan.wants_order:
            assert plan.order_number
        if not plan.understood:
            assert state.escalated or state.slots == before.slots

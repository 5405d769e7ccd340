"""What a turn knows becomes features and words."""

import itertools
import math
from dataclasses import replace

import pytest

from serving.dialogue.intents import INTENTS
from serving.dialogue.policy import TurnPlan, plan_turn
from serving.dialogue.state import DialogueState
from serving.features import DecisionFeatures
from serving.pipelines.past import Past, load_past
from serving.pipelines.turn_features import possible_actions, turn_features
from serving.settings import DialogueSettings
from serving.steps.decide import decision_by_rule
from serving.steps.reply import ReplyParts, compose_reply
from serving.stores.protocols import HistoryEntry
from serving.types import (
    Action,
    Answer,
    Candidate,
    EventKind,
    Order,
    Sentiment,
    Slot,
    Understanding,
)
from tests.fakes.stores import MemoryHistory
from tests.fakes.world import ORDERS, PRODUCTS

ITEM = Candidate(product=PRODUCTS[0], score=0.7, reason="because you looked at a pan")
KNOWN = Answer(known=True, text="It takes three days.", confidence=0.8)
UNKNOWN = Answer(known=False, text="I could not find an answer.", confidence=0.2)


def understood(intent: str = "delivery_period", **changes: object) -> Understanding:
    values: dict[str, object] = {"intent": intent, "intent_confidence": 0.9}
    return Understanding(**{**values, **changes})  # type: ignore[arg-type]


def planned(understanding: Understanding | None, state: DialogueState | None = None) -> TurnPlan:
    return plan_turn(state or DialogueState(), understanding, "text", DialogueSettings())


def features(
    understanding: Understanding | None,
    *,
    state: DialogueState | None = None,
    answer: Answer | None = None,
    items: tuple[Candidate, ...] = (),
    order: Order | None = None,
    past: Past | None = None,
) -> DecisionFeatures:
    return turn_features(
        plan=planned(understanding, state),
        understanding=understanding,
        answer=answer,
        items=items,
        order=order,
        past=past or Past(),
    )


def past(*kinds: EventKind) -> Past:
    return Past(
        entries=tuple(
            HistoryEntry(product_id=f"p{i:02}", kind=kind, occurred_at_ms=i)
            for i, kind in enumerate(kinds)
        )
    )


@pytest.mark.parametrize("intent", sorted(INTENTS))
def test_at_most_one_group_is_set_and_it_is_the_intents(intent: str) -> None:
    found = features(understood(intent))
    groups = {n for n in DecisionFeatures.names() if n.startswith("group_") and getattr(found, n)}
    assert groups == {f"group_{INTENTS[intent].group}"}
    assert found.asks_for_human == float(intent == "contact_human_agent")
    assert found.slot_missing == float(bool(INTENTS[intent].required_slots))


@pytest.mark.parametrize(
    "understanding",
    [None, understood(intent_confidence=0.1), understood(out_of_scope_probability=0.9)],
    ids=["not heard", "unsure", "out of scope"],
)
def test_what_was_not_understood_belongs_to_no_group(understanding: Understanding | None) -> None:
    found = features(understanding)
    assert not any(getattr(found, n) for n in DecisionFeatures.names() if n.startswith("group_"))


def test_an_answer_an_order_and_items_are_seen() -> None:
    assert features(understood(), answer=KNOWN).answer_known == 1.0
    assert features(understood(), answer=UNKNOWN).answer_known == 0.0
    assert features(understood(), answer=UNKNOWN).best_passage_score == 0.2
    assert features(understood(), order=ORDERS[0]).answer_known == 1.0
    found = features(understood(), items=(ITEM,))
    assert (found.items_found, found.best_item_score) == (1.0, 0.7)


def test_anger_outlives_its_utterance() -> None:
    angry = understood(sentiment_probabilities=(0.9, 0.1, 0.0))
    calm = understood(sentiment_probabilities=(0.1, 0.9, 0.0))
    assert features(angry).negative_probability == pytest.approx(0.9)
    after = features(calm, state=DialogueState(negativity=0.9))
    assert after.negative_probability == pytest.approx(0.5)
    assert features(None, state=DialogueState(negativity=0.9)).negative_probability == 0.9


def test_behaviour_counts_by_kind() -> None:
    view, cart, bought = EventKind.VIEW, EventKind.ADD_TO_CART, EventKind.PURCHASE
    found = features(understood(), past=past(view, view, cart, bought, EventKind.REMOVE_FROM_CART))
    assert found.log_views == pytest.approx(math.log(3))
    assert found.log_carts == found.log_purchases == pytest.approx(math.log(2))
    assert found.log_turns == pytest.approx(math.log(2))


def test_without_items_nothing_can_be_shown_or_offered() -> None:
    assert possible_actions((ITEM,)) == frozenset(Action)
    assert frozenset(Action) - possible_actions(()) == {Action.RECOMMEND, Action.OFFER}


def test_interests_leave_out_what_left_the_cart_and_join_runs() -> None:
    entries = [("a", "view"), ("a", "add_to_cart"), ("b", "view"), ("a", "remove_from_cart")]
    known = Past(
        entries=tuple(
            HistoryEntry(product_id=p, kind=k, occurred_at_ms=i) for i, (p, k) in enumerate(entries)
        )
    )
    assert known.interests() == ("a", "b")
    assert known.has_already() == frozenset()


@pytest.mark.parametrize(
    ("customer_id", "known"), [("alice", True), ("nobody", False), ("", True)], ids=repr
)
async def test_only_a_named_customer_can_be_unknown(customer_id: str, known: bool) -> None:
    histories = MemoryHistory(customers={"alice"})
    assert await load_past(histories, customer_id=customer_id, session_id="s") == Past(
        customer_known=known
    )


# ---- the reply's text ---------------------------------------------------------------------------


def reply(
    understanding: Understanding | None = None,
    action: Action = Action.ANSWER,
    *,
    plan: TurnPlan | None = None,
    answer: Answer | None = None,
    items: tuple[Candidate, ...] = (),
    order: Order | None = None,
    unknown_order_number: str = "",
) -> str:
    return compose_reply(
        ReplyParts(
            plan=plan or planned(understanding),
            understanding=understanding,
            answer=answer,
            items=items,
            order=order,
            unknown_order_number=unknown_order_number,
            decision=decision_by_rule(action, "rule"),
        )
    )


@pytest.mark.parametrize("action", list(Action))
def test_every_turn_says_something_and_a_handover_promises_only_that(action: Action) -> None:
    for intent, answer in itertools.product(["", *INTENTS], [None, KNOWN, UNKNOWN]):
        text = reply(understood(intent) if intent else None, action, answer=answer)
        assert text
        assert text == text.strip()
        if action is Action.ESCALATE:
            assert "colleague" in text
            assert "?" not in text


def test_items_are_listed_with_price_and_reason_and_an_offer_names_the_best() -> None:
    shown = reply(understood("recommend_product"), Action.RECOMMEND, items=(ITEM,))
    assert shown == (
        "Here is what I would suggest:\n- Blue Mug 0 (€5.00): because you looked at a pan"
    )
    offered = reply(understood("recommend_product"), Action.OFFER, items=(ITEM,))
    assert offered == f"{shown}\nShall I put Blue Mug 0 into your cart?"


def test_an_order_with_no_article_for_it_is_still_told() -> None:
    slot = Slot(name="order_number", value="12345", start_char=0, end_char=5)
    understanding = understood("cancel_order", slots=(slot,))
    text = reply(understanding, answer=UNKNOWN, order=ORDERS[0])
    assert text.startswith("Order 12345")
    assert UNKNOWN.text not in text


def test_regret_goes_first_and_only_with_a_reason() -> None:
    angry = understood(sentiment=Sentiment.NEGATIVE)
    assert reply(angry, answer=KNOWN) == "I'm sorry about the trouble. It takes three days."
    assert reply(understood(), answer=KNOWN) == "It takes three days."


def test_clarifying_something_found_asks_whether_it_was_meant() -> None:
    assert reply(understood(), Action.CLARIFY, answer=KNOWN) == (
        "It takes three days.\nIs that what you meant?"
    )
    assert "other words" in reply(understood("thanks"), Action.CLARIFY)


def test_a_missing_slot_is_the_last_thing_said() -> None:
    plan = planned(understood("track_order"))
    assert reply(understood("track_order"), Action.CLARIFY, plan=plan).endswith(
        "What is your order number?"
    )
    odd = replace(plan, missing_slot="shoe_width")
    assert reply(understood("track_order"), plan=odd).endswith("tell me the shoe width?")

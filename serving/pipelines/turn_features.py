"""What is known of a turn, as the decision model's features. Pure."""

import math

from serving.dialogue.intents import INTENTS
from serving.dialogue.policy import TurnPlan
from serving.features import DecisionFeatures
from serving.pipelines.past import Past
from serving.types import Action, Answer, Candidate, EventKind, Order, Sentiment, Understanding

HUMAN_INTENT = "contact_human_agent"
_NEGATIVE = tuple(Sentiment).index(Sentiment.NEGATIVE)
_POSITIVE = tuple(Sentiment).index(Sentiment.POSITIVE)


def turn_features(
    *,
    plan: TurnPlan,
    understanding: Understanding | None,
    answer: Answer | None,
    items: tuple[Candidate, ...],
    order: Order | None,
    past: Past,
) -> DecisionFeatures:
    """The features of one turn.

    A customer's anger outlives the utterance: the negative probability is this utterance's, or the
    conversation's moving average if that is higher. The intent's group counts only if the turn was
    understood.
    """
    intent = INTENTS.get(plan.intent) if plan.understood else None
    groups = {f"group_{intent.group}": 1.0} if intent is not None else {}
    negative = plan.state.negativity
    if understanding is not None:
        negative = max(negative, understanding.sentiment_probabilities[_NEGATIVE])
    known = order is not None or (answer is not None and answer.known)
    views = past.count([EventKind.VIEW])
    carts = past.count([EventKind.ADD_TO_CART])
    purchases = past.count([EventKind.PURCHASE])
    return DecisionFeatures(
        **groups,
        intent_confidence=understanding.intent_confidence if understanding else 0.0,
        out_of_scope_probability=(understanding.out_of_scope_probability if understanding else 0.0),
        negative_probability=negative,
        positive_probability=(
            understanding.sentiment_probabilities[_POSITIVE] if understanding else 0.0
        ),
        failures_in_a_row=float(plan.state.failures_in_a_row),
        slot_missing=float(bool(plan.missing_slot)),
        asks_for_human=float(plan.intent == HUMAN_INTENT),
        best_passage_score=answer.confidence if answer else 0.0,
        answer_known=float(known),
        items_found=float(bool(items)),
        best_item_score=items[0].score if items else 0.0,
        log_views=math.log1p(views),
        log_carts=math.log1p(carts),
        log_purchases=math.log1p(purchases),
        log_turns=math.log1p(plan.state.turn),
    )


def possible_actions(items: tuple[Candidate, ...]) -> frozenset[Action]:
    """The actions that the turn can carry out: without items there is nothing to show or offer."""
    if items:
        return frozenset(Action)
    return frozenset(Action) - {Action.RECOMMEND, Action.OFFER}

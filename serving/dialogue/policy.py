"""What a turn means for the conversation, and what it needs done. Pure functions over a state.

    state, understanding, text ─▶ plan_turn ─▶ plan ─▶ look up, answer, recommend, decide
                                                │                                 │
                                                └──────────▶ close_turn ◀─────────┘ ─▶ state

`reading` says what a turn can be; here is what follows:

- REQUEST: becomes the active intent; whatever was asked for is forgotten. What it needs and does
  not know yet is asked for.
- CONTINUATION: the active intent with what is known now.
- SMALLTALK: leaves the active intent and an open question as they are; "goodbye" ends both.
- LOST: an open question stays open. `max_failures` in a row lead to ESCALATE.
- UNHEARD: the customer is asked to say it again. That is not the customer's doing, so the first in
  a row is no failure; every further one is, or the customer would be asked for ever.

Slots carry over turns. A new value replaces the old one and takes along what described the old one:
a new product the colour and size, a new order number the date and amount. A request of another
group keeps the order number alone, since that is the customer's matter whatever is asked about it.

Once the customer was passed on to a person, that holds until a new request is understood: what is
lost, unheard or a mere piece of information is passed on, too.
"""

from dataclasses import dataclass, replace

from serving.dialogue.intents import INTENTS, SLOT_NAMES
from serving.dialogue.reading import INFORMATION, Kind, Reading, read_turn
from serving.dialogue.state import DialogueState
from serving.settings import DialogueSettings
from serving.types import Action, Decision, Sentiment, Slot, Understanding

# Weight of the newest utterance in the moving average of negativity: each calm turn halves it.
NEGATIVITY_WEIGHT = 0.5
# Reasons of a forced action.
ASKS_FOR_HUMAN = "asks_for_human"
NOT_UNDERSTOOD_AGAIN = "not_understood_again"
WITH_A_HUMAN_ALREADY = "with_a_human_already"
NOT_HEARD = "understanding_unavailable"

_HUMAN = "contact_human_agent"
_GOODBYE = "goodbye"
_KEPT_ACROSS_GROUPS = ("order_number",)
_DESCRIBED_BY = {"product": ("colour", "size"), "order_number": ("date", "amount")}


@dataclass(frozen=True, kw_only=True)
class TurnPlan:
    """What one turn means and needs."""

    # After this utterance; slots that were said in it have their span, others (0, 0).
    state: DialogueState
    # The matter in hand: the utterance's intent, or the active one that it continues. Empty if the
    # turn was not understood.
    intent: str
    understood: bool
    # Asked for in the reply; the intent is not acted on before it is known.
    missing_slot: str
    wants_answer: bool
    wants_items: bool
    wants_order: bool
    # Set if `wants_order`.
    order_number: str
    # Leaves the decision model no choice.
    forced_action: Action | None
    # One of the reasons above; empty without a forced action.
    forced_reason: str


def plan_turn(
    state: DialogueState,
    understanding: Understanding | None,
    text: str,
    settings: DialogueSettings,
) -> TurnPlan:
    """Reads one utterance within its conversation.

    Args:
        state: of the conversation so far.
        understanding: what the model made of the utterance; None if it did not answer.
        text: the utterance.
        settings: bounds of what counts as understood.
    """
    reading = read_turn(state, understanding, text, settings)
    state = replace(
        state,
        turn=state.turn + 1,
        slots=_known(state, reading),
        negativity=_negativity(state.negativity, understanding),
    )
    match reading.kind:
        case Kind.REQUEST:
            return _act(replace(state, escalated=False), reading.intent)
        case Kind.CONTINUATION:
            return _act(state, reading.intent)
        case Kind.SMALLTALK:
            return _smalltalk(state, reading.intent)
        case Kind.LOST | Kind.UNHEARD:
            return _not_understood(state, reading.kind, settings)


def close_turn(plan: TurnPlan, decision: Decision) -> DialogueState:
    """The state to remember once it is decided what the turn leads to.

    After ESCALATE a person has the matter: nothing is active or asked for any more.
    """
    state = replace(plan.state, slots=tuple(_carried(slot) for slot in plan.state.slots))
    if decision.action is not Action.ESCALATE:
        return state
    return replace(
        state,
        active_intent="",
        requested_slot="",
        failures_in_a_row=0,
        unheard_in_a_row=0,
        escalated=True,
    )


def _known(state: DialogueState, reading: Reading) -> tuple[Slot, ...]:
    """The slots after the turn, in the order of `SLOT_NAMES`."""
    known = {slot.name: _carried(slot) for slot in state.slots}
    if reading.kind is Kind.REQUEST:
        active = INTENTS.get(state.active_intent)
        if active is None or active.group != INTENTS[reading.intent].group:
            known = {name: known[name] for name in _KEPT_ACROSS_GROUPS if name in known}
    for name, details in _DESCRIBED_BY.items():
        if name in reading.said and name in known and reading.said[name].value != known[name].value:
            known = {n: slot for n, slot in known.items() if n not in details}
    known |= reading.said
    return tuple(known[name] for name in SLOT_NAMES if name in known)


def _act(state: DialogueState, intent: str) -> TurnPlan:
    """The plan of an understood matter: ask for what is missing, else do what it wants."""
    spec = INTENTS[intent]
    known = {slot.name: slot.value for slot in state.slots}
    missing = next((name for name in spec.required_slots if name not in known), "")
    human = intent == _HUMAN
    return TurnPlan(
        state=replace(
            state,
            active_intent=intent,
            requested_slot=missing,
            failures_in_a_row=0,
            unheard_in_a_row=0,
        ),
        intent=intent,
        understood=True,
        missing_slot=missing,
        wants_answer=spec.wants_answer and not missing,
        wants_items=spec.wants_items and not missing,
        wants_order=spec.wants_order and not missing,
        order_number=known.get("order_number", "") if spec.wants_order else "",
        forced_action=Action.ESCALATE if human else None,
        forced_reason=ASKS_FOR_HUMAN if human else "",
    )


def _smalltalk(state: DialogueState, intent: str) -> TurnPlan:
    ends = intent == _GOODBYE
    passes_on = state.escalated and intent == INFORMATION
    state = replace(
        state,
        active_intent="" if ends else state.active_intent,
        requested_slot="" if ends else state.requested_slot,
        failures_in_a_row=0,
        unheard_in_a_row=0,
    )
    return TurnPlan(
        state=state,
        intent=intent,
        understood=True,
        missing_slot=state.requested_slot,
        wants_answer=False,
        wants_items=False,
        wants_order=False,
        order_number="",
        forced_action=Action.ESCALATE if passes_on else None,
        forced_reason=WITH_A_HUMAN_ALREADY if passes_on else "",
    )


def _not_understood(state: DialogueState, kind: Kind, settings: DialogueSettings) -> TurnPlan:
    unheard = state.unheard_in_a_row + 1 if kind is Kind.UNHEARD else 0
    failures = state.failures_in_a_row + (unheard != 1)
    action: Action | None = None
    reason = ""
    if state.escalated:
        action, reason = Action.ESCALATE, WITH_A_HUMAN_ALREADY
    elif failures >= settings.max_failures:
        action, reason = Action.ESCALATE, NOT_UNDERSTOOD_AGAIN
    elif unheard:
        action, reason = Action.CLARIFY, NOT_HEARD
    return TurnPlan(
        state=replace(state, failures_in_a_row=failures, unheard_in_a_row=unheard),
        intent="",
        understood=False,
        missing_slot=state.requested_slot,
        wants_answer=False,
        wants_items=False,
        wants_order=False,
        order_number="",
        forced_action=action,
        forced_reason=reason,
    )


def _negativity(before: float, understanding: Understanding | None) -> float:
    if understanding is None:
        return before
    now = understanding.sentiment_probabilities[tuple(Sentiment).index(Sentiment.NEGATIVE)]
    return before + NEGATIVITY_WEIGHT * (min(max(now, 0.0), 1.0) - before)


def _carried(slot: Slot) -> Slot:
    return replace(slot, start_char=0, end_char=0)

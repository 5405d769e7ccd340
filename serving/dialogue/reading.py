"""What an utterance is within its conversation, and which slots it brings. Pure.

A turn is read as one of five things:

- REQUEST: a new matter, or the present one said again.
- CONTINUATION: only adds to the active intent. It answers the question that was asked (also as a
  bare "12345" that the model took for something else), or refines the matter ("and in blue?").
- SMALLTALK: understood, and neither of the two. A piece of information that belongs to nothing is
  counted here as well.
- LOST: not understood. What it seems to say is not remembered.
- UNHEARD: the model did not answer.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from serving.dialogue import slots as slot_values
from serving.dialogue.intents import INTENTS, SLOT_NAMES, IntentSpec
from serving.dialogue.state import DialogueState
from serving.settings import DialogueSettings
from serving.types import Slot, Understanding

# A slot that the model is less sure of is passed over.
MIN_SLOT_CONFIDENCE = 0.5

INFORMATION = "give_information"

# Slots that, said alone, continue a matter of the group.
_REFINES: dict[str, tuple[str, ...]] = {
    "order": ("order_number", "date"),
    "payment": ("order_number", "date", "amount"),
    "delivery": ("order_number", "date"),
    "product": ("product", "colour", "size", "amount"),
}
# Any few words can be the value of such a slot.
_FREE_TEXT = ("product",)


class Kind(Enum):
    """See the module."""

    REQUEST = auto()
    CONTINUATION = auto()
    SMALLTALK = auto()
    LOST = auto()
    UNHEARD = auto()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A turn, read."""

    kind: Kind
    # The intent that the turn works on; empty for LOST and UNHEARD.
    intent: str
    # Said in this turn, in normal form, by name.
    said: dict[str, Slot]


def read_turn(
    state: DialogueState,
    understanding: Understanding | None,
    text: str,
    settings: DialogueSettings,
) -> Reading:
    """Reads one utterance; the arguments are those of `policy.plan_turn`."""
    active = INTENTS.get(state.active_intent)
    requested = state.requested_slot if active else ""
    if understanding is None:
        answer = slot_values.find(requested, text)
        if active is None or answer is None:
            return Reading(kind=Kind.UNHEARD, intent="", said={})
        return Reading(kind=Kind.CONTINUATION, intent=active.name, said={requested: answer})

    in_scope = understanding.out_of_scope_probability <= settings.max_out_of_scope_probability
    confident = understanding.intent_confidence >= settings.min_intent_confidence
    # None unless the utterance was understood by itself.
    spec = INTENTS.get(understanding.intent) if in_scope and confident else None
    said = _slots_of(understanding)
    if active is not None:
        if requested and requested not in said and _may_hold(requested, in_scope, spec, active):
            answer = slot_values.find(requested, text)
            said |= {requested: answer} if answer else {}
        if _continues(active, requested, in_scope, spec, said, text):
            return Reading(kind=Kind.CONTINUATION, intent=active.name, said=said)
    if spec is None or (spec.name == INFORMATION and requested):
        return Reading(kind=Kind.LOST, intent="", said={})
    kind = Kind.SMALLTALK if spec.group == "smalltalk" else Kind.REQUEST
    return Reading(kind=kind, intent=spec.name, said=said)


def _slots_of(understanding: Understanding) -> dict[str, Slot]:
    """The model's slots in normal form; of two with one name the surer one, then the later."""
    slots: dict[str, Slot] = {}
    for slot in understanding.slots:
        value = slot_values.normalise(slot.name, slot.value)
        before = slots.get(slot.name)
        if (
            value
            and slot.name in SLOT_NAMES
            and slot.confidence >= MIN_SLOT_CONFIDENCE
            and (before is None or slot.confidence >= before.confidence)
        ):
            slots[slot.name] = replace(slot, value=value)
    return slots


def _may_hold(requested: str, in_scope: bool, spec: IntentSpec | None, active: IntentSpec) -> bool:
    """Whether the slot asked for is looked for in a text in which the model found none."""
    if requested not in _FREE_TEXT:
        return True
    return in_scope and (spec is None or spec.name in (INFORMATION, active.name))


def _continues(
    active: IntentSpec,
    requested: str,
    in_scope: bool,
    spec: IntentSpec | None,
    said: dict[str, Slot],
    text: str,
) -> bool:
    """Whether the utterance only adds to the active intent."""
    if requested in said:
        other_matter = spec is not None and spec.group != "smalltalk" and spec.name != active.name
        return not other_matter or slot_values.says_no_more(text, [*said.values()])
    if not in_scope or (spec is not None and spec.name != INFORMATION):
        return False
    return any(name in said for name in _REFINES.get(active.group, ()))

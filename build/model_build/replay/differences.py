"""How two answers to one text differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from serving.types import Slot, Understanding


class Kind(StrEnum):
    """A way in which two versions disagree; the one that matters most comes first."""

    FAILED = "failed"
    INTENT = "intent changed"
    OUT_OF_SCOPE = "out of scope flipped"
    SLOT_REMOVED = "slot removed"
    SLOT_ADDED = "slot added"
    SLOT_CHANGED = "slot changed"
    SENTIMENT = "sentiment changed"
    CONFIDENCE = "confidence moved"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on numbers differ."""

    # An utterance is out of scope if its probability is above; what the dialogue goes by.
    out_of_scope_probability: float
    # The confidence in the same intent has moved if it did by this much or more.
    confidence_step: float = 0.2


def differences(
    first: Understanding | None, second: Understanding | None, limits: Limits
) -> tuple[Kind, ...]:
    """The ways in which the second answer differs from the first, in the order of `Kind`.

    Args:
        first: None if the version gave no answer.
        second: the same of the other version; two that both gave none do not differ.
        limits: from where on numbers differ.
    """
    if first is None or second is None:
        return () if first is second else (Kind.FAILED,)
    found = set(slot_differences(first.slots, second.slots))
    if first.intent != second.intent:
        found.add(Kind.INTENT)
    elif abs(first.intent_confidence - second.intent_confidence) >= limits.confidence_step:
        found.add(Kind.CONFIDENCE)
    if first.sentiment is not second.sentiment:
        found.add(Kind.SENTIMENT)
    limit = limits.out_of_scope_probability
    if (first.out_of_scope_probability > limit) is not (second.out_of_scope_probability > limit):
        found.add(Kind.OUT_OF_SCOPE)
    return tuple(kind for kind in Kind if kind in found)


def slot_differences(first: Sequence[Slot], second: Sequence[Slot]) -> set[Kind]:
    """What became of the slots.

    A slot is the same if it has the same name and span. One of the rest is a changed one if the
    other version found the same name elsewhere, or another name in an overlapping span.
    """
    spans = {(slot.name, slot.start_char, slot.end_char) for slot in first}
    added = [s for s in second if (s.name, s.start_char, s.end_char) not in spans]
    spans = {(slot.name, slot.start_char, slot.end_char) for slot in second}
    removed = [s for s in first if (s.name, s.start_char, s.end_char) not in spans]
    found = set()
    for slot in removed:
        partner = next((other for other in added if _is_partner(slot, other)), None)
        if partner is None:
            found.add(Kind.SLOT_REMOVED)
        else:
            added.remove(partner)
            found.add(Kind.SLOT_CHANGED)
    if added:
        found.add(Kind.SLOT_ADDED)
    return found


def _is_partner(slot: Slot, other: Slot) -> bool:
    overlap = slot.start_char < other.end_char and other.start_char < slot.end_char
    return slot.name == other.name or overlap

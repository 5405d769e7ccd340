"""What a conversation remembers between two turns, and how it is stored."""

from dataclasses import dataclass
from typing import Any, TypeVar

from serving.errors import Internal
from serving.types import Slot

T = TypeVar("T")

# Grows when the meaning of a stored field changes. A field that is merely added does not need it:
# what is missing has its default, and what is not known is passed over, so that replicas of two
# versions can serve one session during an update.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class DialogueState:
    """State after a turn."""

    # Turns so far.
    turn: int = 0
    # The request being worked on; empty before the first one and after it was handed to a person.
    active_intent: str = ""
    # What is known, one slot a name.
    slots: tuple[Slot, ...] = ()
    # Asked for in the last reply; empty if nothing was.
    requested_slot: str = ""
    # Turns in a row that were not understood.
    failures_in_a_row: int = 0
    # Turns in a row that could not be analysed at all, because the model did not answer.
    unheard_in_a_row: int = 0
    # Moving average of the probability that an utterance is negative, in [0, 1].
    negativity: float = 0.0
    # The customer was passed on to a person and has not come with a new request since.
    escalated: bool = False

    def to_json(self) -> dict[str, Any]:
        """The state as JSON-compatible data."""
        return {
            "version": VERSION,
            "turn": self.turn,
            "active_intent": self.active_intent,
            "slots": [
                {
                    "name": slot.name,
                    "value": slot.value,
                    "start_char": slot.start_char,
                    "end_char": slot.end_char,
                    "confidence": slot.confidence,
                }
                for slot in self.slots
            ],
            "requested_slot": self.requested_slot,
            "failures_in_a_row": self.failures_in_a_row,
            "unheard_in_a_row": self.unheard_in_a_row,
            "negativity": self.negativity,
            "escalated": self.escalated,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DialogueState":
        """Reads a stored state.

        Raises:
            Internal: written by a later version, or not a state; names the field and the reason.
        """
        version = _read(data, "version", int, 0)
        if version != VERSION:
            raise Internal(f"dialogue state: version: is {version}, this release reads {VERSION}")
        slots = _read(data, "slots", list, [])
        return cls(
            turn=_count(data, "turn"),
            active_intent=_read(data, "active_intent", str, ""),
            slots=tuple(_slot(slot) for slot in slots),
            requested_slot=_read(data, "requested_slot", str, ""),
            failures_in_a_row=_count(data, "failures_in_a_row"),
            unheard_in_a_row=_count(data, "unheard_in_a_row"),
            negativity=_share(data, "negativity", 0.0),
            escalated=_read(data, "escalated", bool, False),
        )


def _slot(data: Any) -> Slot:
    if not isinstance(data, dict) or not data.get("name"):
        raise Internal("dialogue state: slots: has an entry without a name")
    return Slot(
        name=_read(data, "name", str, ""),
        value=_read(data, "value", str, ""),
        start_char=_count(data, "start_char"),
        end_char=_count(data, "end_char"),
        confidence=_share(data, "confidence", 1.0),
    )


def _read(data: dict[str, Any], field: str, kind: type[T], default: T) -> T:
    value = data.get(field, default)
    # JSON's true is an int to Python.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Internal(f"dialogue state: {field}: must be {kind.__name__}, is {value!r:.80}")
    return value


def _count(data: dict[str, Any], field: str) -> int:
    value = _read(data, field, int, 0)
    if value < 0:
        raise Internal(f"dialogue state: {field}: must not be negative, is {value}")
    return value


def _share(data: dict[str, Any], field: str, default: float) -> float:
    value = data.get(field, default)
    # Written so that NaN fails as well.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Internal(f"dialogue state: {field}: must lie in [0, 1], is {value!r:.80}")
    return float(value)

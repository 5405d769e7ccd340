"""A turn of a conversation: what comes in, what goes out, and what is told on the way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from serving.types import Answer, Candidate, Decision, Passage, Slot, Understanding


@dataclass(frozen=True, kw_only=True)
class TurnInput:
    """One utterance of a conversation. `customer_id` is empty for an anonymous visitor."""

    session_id: str
    customer_id: str = ""
    text: str
    # Items wanted when the turn recommends.
    top_k: int


@dataclass(frozen=True, kw_only=True)
class TurnOutcome:
    """What the customer gets, and what the conversation knows after it."""

    session_id: str
    # Counts from 1.
    turn: int
    text: str
    # None: the utterance could not be analysed.
    understanding: Understanding | None
    # None: the turn did not ask the knowledge base.
    answer: Answer | None
    items: tuple[Candidate, ...]
    decision: Decision
    # The slot that the agent asks for; "" when nothing is missing.
    requested_slot: str
    # Slots of earlier turns included.
    known_slots: tuple[Slot, ...]


@dataclass(frozen=True, kw_only=True)
class UnderstandingKnown:
    """The utterance was analysed."""

    understanding: Understanding


@dataclass(frozen=True, kw_only=True)
class SourcesFound:
    """The knowledge base knows the answer; best source first."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, kw_only=True)
class ItemsFound:
    """There are products to show; best first."""

    items: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class DecisionMade:
    """What the agent does next is settled."""

    decision: Decision


@dataclass(frozen=True, kw_only=True)
class TextPiece:
    """A piece of the reply's text; the pieces joined are the whole text."""

    text: str


TurnEvent = UnderstandingKnown | SourcesFound | ItemsFound | DecisionMade | TextPiece
# Gets the events in the order in which they are listed above. The turn waits for it: a slow reader
# slows the turn down, within its deadline.
Emit = Callable[[TurnEvent], Awaitable[None]]

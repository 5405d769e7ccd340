"""One recorded request, and its line in a segment. Everything in it is masked already."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from serving.recording.masking import Masked
from serving.types import Understanding


class _Recorded(BaseModel):
    # Written by the same code or an older one; what a newer one added is left out.
    model_config = ConfigDict(extra="ignore", frozen=True)


class RecordedSlot(_Recorded):
    """A slot that was found; the value is a part of the masked text."""

    name: str
    value: str


class RecordedAnswer(_Recorded):
    """What `understanding` answered, in short."""

    intent: str
    intent_confidence: float
    slots: tuple[RecordedSlot, ...] = ()
    sentiment: str
    out_of_scope_probability: float


class Record(_Recorded):
    """One request to a model that reads text."""

    schema_version: Literal[1] = 1
    arrived_at_ms: int
    """Unix time in milliseconds."""
    trace_id: str
    """Empty if the request was not traced."""
    method: str
    """That the client called, e.g. "Converse"."""
    model: str
    version: int
    """That answered."""
    arm: str
    """Why that version answered; see `serving.versions.arms`."""
    text: str
    answer: RecordedAnswer | None
    """None for models whose answer says nothing to a reader."""

    def line(self) -> bytes:
        """The record as a line of JSON, with its end."""
        return self.model_dump_json().encode() + b"\n"


def recorded_answer(answer: Understanding, masked: Masked) -> RecordedAnswer:
    """An answer to a text without what the text was masked for.

    Args:
        answer: what the model made of the original text; its slots are spans of that.
        masked: the same text, masked.
    """
    return RecordedAnswer(
        intent=answer.intent,
        intent_confidence=round(answer.intent_confidence, 4),
        slots=tuple(
            # By its span and not by its value: alone, a name is not recognised as one.
            RecordedSlot(name=slot.name, value=masked.part(slot.start_char, slot.end_char))
            for slot in answer.slots
        ),
        sentiment=answer.sentiment.value,
        out_of_scope_probability=round(answer.out_of_scope_probability, 4),
    )

"""What users do: calls and pauses; and the methods that can be called."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from google.protobuf.message import Message

Service = Literal["Agent", "Events"]

# Method -> service. Method names are unique across services.
METHODS: dict[str, Service] = {
    "Converse": "Agent",
    "ConverseStream": "Agent",
    "Understand": "Agent",
    "Answer": "Agent",
    "Recommend": "Agent",
    "Decide": "Agent",
    "RecordEvents": "Events",
}
STREAMS = frozenset({"ConverseStream"})


@dataclass(frozen=True)
class Call:
    """One call of a method of `METHODS`."""

    method: str
    request: Message


@dataclass(frozen=True)
class Think:
    """A pause of the customer, in seconds."""

    seconds: float


# Yields what the customer does next; is sent the reply of a call (None if it failed, and for a
# pause). A stream's reply is its last event's whole reply.
Journey = Generator[Call | Think, Message | None, None]

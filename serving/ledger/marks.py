"""What a segment says of itself: its writer, what could not be written, that it is complete."""

import hashlib
import struct
from dataclasses import dataclass

from serving.ledger.record import FRAME_BYTES, KIND_LOSS, KIND_SEAL, KIND_START

FORMAT = 1
DIGEST_CHARS = 12
# kind, format, process id, created_at_ms
_START = struct.Struct("<BHIQ")
# kind, entries, first_at_ms, last_at_ms
_COUNTED = struct.Struct("<BIQQ")
# Of a seal's record: the last bytes of a segment that was closed.
SEAL_BYTES = FRAME_BYTES + _COUNTED.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The first record of a segment."""

    format: int
    pid: int
    created_at_ms: int
    # Of the writing process, as JSON.
    settings_text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Entries that could not be written, e.g. because the disk was full."""

    entries: int
    # Unix times of the first and the last of them.
    first_at_ms: int
    last_at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """The last record of a segment that was closed, and not left behind by a killed process."""

    entries: int
    # Unix times of all its entries and losses lie between these, both included.
    first_at_ms: int
    last_at_ms: int


def digest_of(settings_text: str) -> str:
    """What entries name the settings by: the beginning of their SHA-256, in hex."""
    return hashlib.sha256(settings_text.encode()).hexdigest()[:DIGEST_CHARS]


def encode_start(start: Start) -> bytes:
    """Payload of a start's record."""
    head = _START.pack(KIND_START, start.format, start.pid, start.created_at_ms)
    return head + start.settings_text.encode()


def decode_start(payload: bytes) -> Start:
    """The start in a payload of `encode_start`; without the settings if its format is another."""
    _, format_number, pid, created_at_ms = _START.unpack_from(payload)
    return Start(
        format=format_number,
        pid=pid,
        created_at_ms=created_at_ms,
        settings_text=payload[_START.size :].decode() if format_number == FORMAT else "",
    )


def encode_loss(loss: Loss) -> bytes:
    """Payload of a loss's record."""
    return _COUNTED.pack(KIND_LOSS, loss.entries, loss.first_at_ms, loss.last_at_ms)


def decode_loss(payload: bytes) -> Loss:
    """The loss in a payload of `encode_loss`."""
    _, entries, first_at_ms, last_at_ms = _COUNTED.unpack(payload)
    return Loss(entries=entries, first_at_ms=first_at_ms, last_at_ms=last_at_ms)


def encode_seal(seal: Seal) -> bytes:
    """Payload of a seal's record."""
    return _COUNTED.pack(KIND_SEAL, seal.entries, seal.first_at_ms, seal.last_at_ms)


def decode_seal(payload: bytes) -> Seal:
    """The seal in a payload of `encode_seal`."""
    _, entries, first_at_ms, last_at_ms = _COUNTED.unpack(payload)
    return Seal(entries=entries, first_at_ms=first_at_ms, last_at_ms=last_at_ms)

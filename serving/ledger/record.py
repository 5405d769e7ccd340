"""Records in a segment: framed, checksummed, and found again behind damaged bytes.

    magic (2 bytes) · length of the payload (2) · CRC-32 (4) · payload, its kind first · end (1)

The checksum begins with the record's place, so that a record which was copied elsewhere is none.
The end is never zero: whatever of a preallocated segment is used ends with the last byte that is
not.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MAX_PAYLOAD_BYTES = 0xFFFF
# First byte of a payload.
KIND_START, KIND_SETUP, KIND_ENTRY, KIND_LOSS, KIND_SEAL = range(1, 6)

# In no text of UTF-8.
_MAGIC = b"\xc7L"
_HEADER = struct.Struct("<2sHI")
_END = b"\n"
HEADER_BYTES = _HEADER.size
# Of a record beside its payload.
FRAME_BYTES = HEADER_BYTES + len(_END)


class Span(NamedTuple):
    """Bytes from `start` to `stop` (exclusive): one record, or what is none."""

    start: int
    stop: int
    # None: the bytes are unusable.
    payload: bytes | None


def frame(payload: bytes, place: int) -> bytes:
    """A record.

    Args:
        payload: what it holds.
        place: where in the segment it will begin, in bytes.

    Raises:
        ValueError: the payload is too long.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record of {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")
    return _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload, place)) + payload + _END


def payload_at(data: bytes, place: int, *, cut_off: int = 0) -> bytes | None:
    """The payload of the record at a place; None if no whole record begins there.

    Args:
        data: a segment, or a part of it.
        place: in `data`, in bytes.
        cut_off: bytes of the segment that lie before `data`.
    """
    if place < 0 or len(data) - place < FRAME_BYTES:
        return None
    magic, length, checksum = _HEADER.unpack_from(data, place)
    stop = place + HEADER_BYTES + length
    if magic != _MAGIC or data[stop : stop + 1] != _END:
        return None
    payload = data[place + HEADER_BYTES : stop]
    return payload if zlib.crc32(payload, place + cut_off) == checksum else None


def scan(data: bytes) -> Iterator[Span]:
    """All records of a segment in their order, and the unusable bytes between and behind them."""
    used = used_bytes(data)
    place = 0
    while place < used:
        payload = payload_at(data, place)
        if payload is not None:
            stop = place + FRAME_BYTES + len(payload)
        else:
            stop = _next_record(data, place + 1, used)
        yield Span(place, stop, payload)
        place = stop


def used_bytes(data: bytes) -> int:
    """How many bytes of a segment are used; the rest was preallocated."""
    return len(data.rstrip(b"\0"))


def end_of_last_record(data: bytes) -> int:
    """Where the last whole record ends, in bytes; 0 if there is none."""
    place = data.rfind(_MAGIC)
    while place >= 0:
        payload = payload_at(data, place)
        if payload is not None:
            return place + FRAME_BYTES + len(payload)
        place = data.rfind(_MAGIC, 0, place + 1)
    return 0


def _next_record(data: bytes, place: int, used: int) -> int:
    """Where the first whole record at or behind a place begins; `used` if there is none."""
    found = data.find(_MAGIC, place)
    while found >= 0 and payload_at(data, found) is None:
        found = data.find(_MAGIC, found + 1)
    return used if found < 0 else found

"""What a segment holds, read by anybody at any time: entries, losses, and what is damaged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from serving.ledger.entry import (
    TRACE_AT,
    TRACE_BYTES,
    Entry,
    Setup,
    decode_entry,
    decode_setup,
    setup_place_of,
    trace_of,
)
from serving.ledger.files import is_being_written
from serving.ledger.marks import (
    FORMAT,
    SEAL_BYTES,
    Loss,
    Seal,
    Start,
    decode_loss,
    decode_seal,
    decode_start,
)
from serving.ledger.record import (
    FRAME_BYTES,
    HEADER_BYTES,
    KIND_ENTRY,
    KIND_LOSS,
    KIND_SEAL,
    KIND_SETUP,
    KIND_START,
    MAX_PAYLOAD_BYTES,
    Span,
    end_of_last_record,
    payload_at,
    scan,
    used_bytes,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Bytes of a segment that should tell something and do not."""

    # Name of the file.
    segment: str
    # From `start` to `stop` (exclusive).
    start: int
    stop: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """The end of a segment that was not closed: an entry whose writer was killed before it was
    whole, and so before the call was answered."""

    segment: str
    start: int
    stop: int


Line = Entry | Loss | Damage | Unfinished


class SegmentBytes(NamedTuple):
    """What was read of a segment."""

    data: bytes
    being_written: bool


def read_segment(path: Path) -> SegmentBytes:
    """The bytes of a segment, without what is being written at this moment.

    Raises:
        OSError: it cannot be read.
    """
    if not is_being_written(path):
        return SegmentBytes(path.read_bytes(), being_written=False)
    # One reading takes a while: it may miss the end of one record and find the next. What lies
    # before the last record that it found is complete in the next reading.
    complete = end_of_last_record(path.read_bytes())
    return SegmentBytes(path.read_bytes()[:complete], being_written=True)


def read_start(path: Path) -> Start | None:
    """Who wrote a segment; None if its first record is damaged or not there yet.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        payload = payload_at(file.read(FRAME_BYTES + MAX_PAYLOAD_BYTES), 0)
    return decode_start(payload) if payload and payload[0] == KIND_START else None


def read_seal(path: Path) -> Seal | None:
    """The seal of a segment; None if it was not closed.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        before = max(0, file.seek(0, 2) - SEAL_BYTES)
        file.seek(before)
        return seal_of(file.read(), cut_off=before)


def seal_of(data: bytes, *, cut_off: int = 0) -> Seal | None:
    """The seal at the end of a segment's bytes, of which the first `cut_off` may be missing."""
    payload = payload_at(data, len(data) - SEAL_BYTES, cut_off=cut_off)
    return decode_seal(payload) if payload and payload[0] == KIND_SEAL else None


def lines(data: bytes, segment: str) -> Iterator[Line]:
    """What a segment holds, in the order in which it was written.

    Args:
        data: of `read_segment`.
        segment: the file's name.
    """
    setups: dict[int, Setup] = {}
    # Where an unusable end is nobody's fault.
    open_end = used_bytes(data) if seal_of(data) is None else -1
    for span in scan(data):
        payload = span.payload
        if payload is None and span.stop == open_end:
            yield Unfinished(segment=segment, start=span.start, stop=span.stop)
        elif payload is None:
            yield _damage(segment, span, "no whole record")
        elif payload[0] == KIND_ENTRY:
            yield _entry(data, segment, span, payload, setups)
        elif payload[0] == KIND_LOSS:
            yield decode_loss(payload)
        elif payload[0] == KIND_START and (written := decode_start(payload)).format != FORMAT:
            whole = Span(0, len(data), None)
            yield _damage(
                segment, whole, f"has format {written.format}, this program reads {FORMAT}"
            )
            return
        elif payload[0] not in (KIND_START, KIND_SETUP, KIND_SEAL):
            yield _damage(segment, span, f"a record of unknown kind {payload[0]}")


def entries_of_trace(data: bytes, segment: str, trace: bytes) -> Iterator[Entry | Damage]:
    """The entries of a trace, and what is left of them where they are damaged.

    Args:
        data: of `read_segment`.
        segment: the file's name.
        trace: the trace id, 16 bytes.
    """
    found = data.find(trace)
    while found >= 0:
        place = found - TRACE_AT - HEADER_BYTES
        payload = payload_at(data, place)
        if payload is None or payload[0] != KIND_ENTRY:
            around = Span(max(place, 0), found + TRACE_BYTES, None)
            yield _damage(segment, around, f"an entry of request {trace.hex()} is damaged")
        else:
            span = Span(place, place + FRAME_BYTES + len(payload), payload)
            yield _entry(data, segment, span, payload, {})
        found = data.find(trace, found + 1)


def _entry(
    data: bytes, segment: str, span: Span, payload: bytes, setups: dict[int, Setup]
) -> Entry | Damage:
    """The entry with its setup, which is read once for all."""
    place = setup_place_of(payload)
    setup = setups.get(place)
    if setup is None:
        found = payload_at(data, place)
        if found is None or found[0] != KIND_SETUP:
            what = f"the models of request {trace_of(payload)} stood at byte {place}, damaged now"
            return _damage(segment, span, what)
        setup = setups[place] = decode_setup(found)
    return decode_entry(payload, setup)


def _damage(segment: str, span: Span, reason: str) -> Damage:
    return Damage(segment=segment, start=span.start, stop=span.stop, reason=reason)

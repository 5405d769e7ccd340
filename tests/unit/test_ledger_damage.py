"""Damaged segments: what is damaged is told, and everything else is found."""

from dataclasses import replace
from pathlib import Path, PosixPath
from typing import ClassVar

import pytest

from serving.ledger.contents import (
    Damage,
    Line,
    Unfinished,
    entries_of_trace,
    lines,
    read_segment,
    seal_of,
)
from serving.ledger.entry import Entry, setup_place_of
from serving.ledger.marks import FORMAT, SEAL_BYTES, Start, encode_start
from serving.ledger.record import (
    KIND_ENTRY,
    KIND_SETUP,
    KIND_START,
    Span,
    frame,
    payload_at,
    scan,
    used_bytes,
)
from serving.ledger.segment import SETUP_SPAN_BYTES, SegmentWriter
from tests.ledger_entries import (
    BEGAN_MS,
    NOT_READY,
    UNDERSTANDING_4,
    entry,
)

NAME = "s.ledger"
WRITTEN = [
    entry(0),
    entry(1, models=(UNDERSTANDING_4,), degraded=(NOT_READY,)),
    entry(2),
    entry(3, method="Recommend", code="UNAVAILABLE", models=()),
    entry(4, models=(UNDERSTANDING_4,)),
]


def written(folder: Path, entries: list[Entry], size_bytes: int = 4096) -> bytes:
    """A segment that was closed."""
    writer = SegmentWriter.create(folder, BEGAN_MS, size_bytes, '{"some": "settings"}')
    for one in entries:
        assert writer.append(one)
    writer.seal()
    return writer.path.read_bytes()


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return written(tmp_path, WRITTEN)


def spans_of_kind(data: bytes, kind: int) -> list[Span]:
    return [span for span in scan(data) if span.payload is not None and span.payload[0] == kind]


def covered(told: list[Line], place: int) -> bool:
    return any(
        line.start <= place < line.stop for line in told if isinstance(line, Damage | Unfinished)
    )


def entries_in(told: list[Line]) -> list[Entry]:
    return [line for line in told if isinstance(line, Entry)]


def test_a_sound_segment_tells_nothing_else(data: bytes) -> None:
    assert list(lines(data, NAME)) == WRITTEN
    assert len(spans_of_kind(data, KIND_SETUP)) == 3
    assert used_bytes(data) == len(data)


@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_a_wrong_byte_anywhere_is_told_and_costs_only_what_it_belongs_to(
    data: bytes, flipped: int
) -> None:
    by_span = dict(zip(spans_of_kind(data, KIND_ENTRY), WRITTEN, strict=True))
    setups = spans_of_kind(data, KIND_SETUP)
    assert {span.start for span in setups} == {
        setup_place_of(span.payload) for span in by_span if span.payload
    }
    (start,) = spans_of_kind(data, KIND_START)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= flipped
        told = list(lines(bytes(damaged), NAME))
        assert covered(told, place), place
        # The setup that is gone, if it is one, and the entries that refer to it.
        gone = {span.start for span in setups if span.start <= place < span.stop}
        expected = [
            one
            for span, one in by_span.items()
            if not span.start <= place < span.stop
            and span.payload is not None
            and setup_place_of(span.payload) not in gone
        ]
        assert entries_in(told) == expected, place
        if gone:
            # Each says whose it was.
            named = [line.reason for line in told if isinstance(line, Damage)]
            lost = [one for one in WRITTEN if one not in expected]
            assert len(named) == 1 + len(lost)
            assert all(one.trace_id in why for one, why in zip(lost, named[1:], strict=True))
        if start.start <= place < start.stop:
            assert len(told) == 1 + len(WRITTEN)


@pytest.mark.parametrize("preallocated", [0, 500])
def test_a_segment_that_ends_anywhere_is_read_up_to_there(data: bytes, preallocated: int) -> None:
    spans = spans_of_kind(data, KIND_ENTRY)
    for length in range(len(data)):
        told = list(lines(data[:length] + bytes(preallocated), NAME))
        whole = [one for span, one in zip(spans, WRITTEN, strict=True) if span.stop <= length]
        assert entries_in(told) == whole, length
        rest = [line for line in told if not isinstance(line, Entry)]
        last_stop = max((span.stop for span in scan(data) if span.stop <= length), default=0)
        unfinished = length - last_stop
        if unfinished == 0:
            assert rest == []
        elif rest:
            # Zeros at the end of what was written look like what was not.
            (one,) = rest
            assert isinstance(one, Unfinished)
            assert one.start == last_stop
            assert not any(data[one.stop : length])
        else:
            assert not any(data[last_stop:length])


def test_a_lost_page_costs_its_records_and_no_others(tmp_path: Path) -> None:
    entries = [entry(number) for number in range(300)]
    data = written(tmp_path, entries, size_bytes=1 << 16)
    # As after a power cut: the system had written the pages around it.
    lost = data[:4096] + bytes(4096) + data[8192:]
    told = list(lines(lost, NAME))
    (damage,) = [line for line in told if isinstance(line, Damage)]
    assert damage.start <= 4096
    assert damage.stop >= 8192
    assert damage.stop - damage.start < 4096 + 2 * 100
    found = entries_in(told)
    assert found == [one for one in entries if one in found]
    assert found[0] == entries[0]
    assert found[-1] == entries[-1]
    assert len(found) > 300 - 4096 / 60


def test_a_setup_is_repeated_so_that_its_loss_is_not_everybodys(tmp_path: Path) -> None:
    many = [entry(number) for number in range(SETUP_SPAN_BYTES * 29 // 10 // 65)]
    data = written(tmp_path, many, size_bytes=4 * SETUP_SPAN_BYTES)
    setups = spans_of_kind(data, KIND_SETUP)
    assert len(setups) == 3
    damaged = bytearray(data)
    damaged[setups[1].start + 20] ^= 1
    found = entries_in(list(lines(bytes(damaged), NAME)))
    assert len(many) * 0.6 < len(found) < len(many) * 0.7


def test_a_record_that_was_copied_elsewhere_is_none(data: bytes) -> None:
    first, second, *_ = spans_of_kind(data, KIND_ENTRY)
    moved = data[: second.start] + data[first.start : first.stop] + data[second.stop :]
    assert payload_at(data, first.start) == first.payload
    assert payload_at(moved, second.start) is None


def test_what_looks_like_the_beginning_of_a_record_is_none(tmp_path: Path) -> None:
    odd = [replace(entry(0), trace_id="c74c" * 8), entry(1)]
    data = bytearray(written(tmp_path, odd))
    assert data.count(b"\xc7L") > len(list(scan(bytes(data))))
    first = spans_of_kind(bytes(data), KIND_ENTRY)[0]
    data[first.start] ^= 1
    damage, found = lines(bytes(data), NAME)
    assert isinstance(damage, Damage)
    assert (damage.start, damage.stop) == (first.start, first.stop)
    assert found == odd[1]


class Overtaken(PosixPath):
    """A segment whose first reading is overtaken by its writer between two pages."""

    first_reading: ClassVar[list[bytes]] = []

    def read_bytes(self) -> bytes:
        return self.first_reading.pop() if self.first_reading else super().read_bytes()


def test_a_reading_that_was_overtaken_by_the_writer_is_no_damage(tmp_path: Path) -> None:
    writer = SegmentWriter.create(tmp_path, BEGAN_MS, 4096, "{}")
    for one in WRITTEN:
        writer.append(one)
    data = writer.path.read_bytes()
    missed, seen, *_ = spans_of_kind(data, KIND_ENTRY)[2:]
    # The page with the third entry was read before that was written, the page with the fourth
    # one afterwards.
    between = data[: missed.start] + bytes(missed.stop - missed.start) + data[missed.stop :]
    first = between[: seen.stop] + bytes(len(data) - seen.stop)
    assert any(isinstance(line, Damage) for line in lines(first, NAME))
    Overtaken.first_reading.append(first)
    read = read_segment(Overtaken(writer.path))
    assert read.being_written
    assert list(lines(read.data, NAME)) == WRITTEN[:4]
    writer.seal()
    assert not read_segment(writer.path).being_written


def test_a_damaged_entry_is_found_by_what_is_left_of_it(data: bytes) -> None:
    (span, *_) = spans_of_kind(data, KIND_ENTRY)
    trace = bytes.fromhex(WRITTEN[0].trace_id)
    assert list(entries_of_trace(data, NAME, trace)) == [WRITTEN[0]]
    damaged = bytearray(data)
    damaged[span.stop - 2] ^= 1
    (left,) = entries_of_trace(bytes(damaged), NAME, trace)
    assert isinstance(left, Damage)
    assert left.start == span.start
    assert WRITTEN[0].trace_id in left.reason


def test_a_segment_of_another_format_is_not_guessed_at(data: bytes) -> None:
    (start,) = spans_of_kind(data, KIND_START)
    head = encode_start(Start(format=FORMAT + 1, pid=1, created_at_ms=BEGAN_MS, settings_text=""))
    padded = head + bytes(start.stop - start.start - 9 - len(head))
    (damage,) = lines(frame(padded, 0) + data[start.stop :], NAME)
    assert isinstance(damage, Damage)
    assert damage.reason == "has format 2, this program reads 1"


def test_a_record_of_a_kind_to_come_is_told(data: bytes) -> None:
    more = data + frame(b"\x63new", len(data))
    *known, damage = lines(more, NAME)
    assert known == WRITTEN
    assert isinstance(damage, Damage)
    assert damage.reason == "a record of unknown kind 99"


def test_a_seal_counts(data: bytes) -> None:
    seal = seal_of(data)
    assert seal is not None
    assert (seal.entries, seal.first_at_ms, seal.last_at_ms) == (5, BEGAN_MS, BEGAN_MS + 4)
    assert seal_of(data[:-1]) is None
    assert seal_of(data[-SEAL_BYTES:], cut_off=len(data) - SEAL_BYTES) == seal
    assert seal_of(b"") is None

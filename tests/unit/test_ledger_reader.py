"""Looking things up: by request, by time, over all segments; and what verification says."""

from pathlib import Path

import pytest

from serving.errors import InvalidRequest, NotFound, StoreUnavailable
from serving.ledger.contents import Damage
from serving.ledger.entry import Entry
from serving.ledger.files import segment_files
from serving.ledger.reader import LedgerReader, State
from serving.ledger.writer import Ledger
from tests.ledger_entries import BEGAN_MS, entry, settings, trace_of

# One a segment.
AGE_S = 0.01


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Ten closed segments of ten entries, and an open one of five."""
    ledger = Ledger(settings(tmp_path, age_s=AGE_S), "{}")
    for number in range(105):
        ledger.append(entry(number))
    return ledger


@pytest.fixture
def reader(ledger: Ledger, tmp_path: Path) -> LedgerReader:
    assert len(segment_files(tmp_path)) == 11
    return LedgerReader(tmp_path)


@pytest.mark.parametrize("number", [0, 9, 10, 57, 99, 100, 104])
def test_a_request_is_found_wherever_it_is(reader: LedgerReader, number: int) -> None:
    assert reader.find(trace_of(number)) == [entry(number)]
    assert reader.find(trace_of(number).upper()) == [entry(number)]


def test_calls_of_one_trace_are_told_apart(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), "{}")
    first = entry(0, code="UNAVAILABLE")
    again = Entry(trace_id=first.trace_id, at_ms=BEGAN_MS + 5, method="Converse", code="OK")
    ledger.append(again)
    ledger.append(first)
    ledger.close()
    assert LedgerReader(tmp_path).find(first.trace_id) == [first, again]


def test_a_request_that_was_never_answered_is_not_found(reader: LedgerReader) -> None:
    assert reader.find(trace_of(105)) == []


@pytest.mark.parametrize("wrong", ["", "abc", "zz" * 16, "ab" * 15, "ab" * 17, "0" * 32])
def test_what_is_no_trace_id_is_refused(reader: LedgerReader, wrong: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        reader.find(wrong)
    assert caught.value.field == "request"
    assert repr(wrong) in caught.value.reason


def test_a_damaged_request_is_told(reader: LedgerReader, tmp_path: Path) -> None:
    path = segment_files(tmp_path)[3].path
    data = bytearray(path.read_bytes())
    at = data.index(bytes.fromhex(trace_of(35)))
    data[at + 20] ^= 1
    path.write_bytes(bytes(data))
    (damage,) = reader.find(trace_of(35))
    assert isinstance(damage, Damage)
    assert damage.segment == path.name
    assert reader.find(trace_of(34)) == [entry(34)]


@pytest.mark.parametrize(
    ("since", "until"), [(0, 105), (0, 1), (7, 33), (50, 50), (95, 105), (104, 200), (-9, 0)]
)
def test_a_span_of_time_is_read_in_order(reader: LedgerReader, since: int, until: int) -> None:
    expected = [entry(number) for number in range(105) if since <= number < until]
    assert list(reader.read(BEGAN_MS + since, BEGAN_MS + until)) == expected


def test_segments_outside_of_the_span_are_not_read(reader: LedgerReader, tmp_path: Path) -> None:
    # A damaged one is told wherever it is met: so it was not met.
    for file in segment_files(tmp_path)[:9]:
        data = bytearray(file.path.read_bytes())
        data[5] ^= 1
        file.path.write_bytes(bytes(data))
    assert list(reader.read(BEGAN_MS + 90)) == [entry(number) for number in range(90, 105)]
    damages = [line for line in reader.read(BEGAN_MS + 80) if isinstance(line, Damage)]
    assert len(damages) == 1


def test_segments_are_opened_one_after_the_other(reader: LedgerReader, tmp_path: Path) -> None:
    lines = reader.read()
    assert next(lines) == entry(0)
    # Deleted before its turn, as the oldest one may be: left out without an error.
    segment_files(tmp_path)[5].path.unlink()
    assert list(lines) == [entry(n) for n in range(1, 105) if not 50 <= n < 60]


def test_verification_counts(reader: LedgerReader, tmp_path: Path) -> None:
    reports = list(reader.verify())
    assert [report.entries for report in reports] == [10] * 10 + [5]
    assert [report.state for report in reports] == [State.CLOSED] * 10 + [State.WRITTEN]
    assert all(report.sound and not report.unfinished_bytes for report in reports)
    assert (reports[2].first_at_ms, reports[2].last_at_ms) == (BEGAN_MS + 20, BEGAN_MS + 29)
    assert reports[2].size_bytes == segment_files(tmp_path)[2].path.stat().st_size


def test_verification_names_what_is_damaged(reader: LedgerReader, tmp_path: Path) -> None:
    file = segment_files(tmp_path)[4]
    data = bytearray(file.path.read_bytes())
    place = data.index(bytes.fromhex(trace_of(44))) + 3
    data[place] ^= 0x10
    file.path.write_bytes(bytes(data))
    unsound = [report for report in reader.verify() if not report.sound]
    (report,) = unsound
    (damage,) = report.damages
    assert damage.start <= place < damage.stop
    assert (report.segment, report.entries, report.missing) == (file.path.name, 9, 1)


def test_entries_that_are_gone_without_a_trace_are_missing(
    reader: LedgerReader, tmp_path: Path
) -> None:
    file = segment_files(tmp_path)[0]
    data = file.path.read_bytes()
    at = data.rindex(bytes.fromhex(trace_of(9)))
    # Wiped with zeros: no record, and none that is half.
    file.path.write_bytes(data[: at - 9] + bytes(65) + data[at - 9 + 65 :])
    first = next(reader.verify())
    assert (first.entries, first.missing, first.sound) == (9, 1, False)


def test_an_end_that_is_not_whole_is_no_damage(tmp_path: Path, ledger: Ledger) -> None:
    file = segment_files(tmp_path)[10]
    data = file.path.read_bytes()
    cut = data.index(bytes.fromhex(trace_of(104))) + 16
    # As its writer was killed in the middle of writing the last entry.
    file.path.with_name("1790000000200-1-0.ledger").write_bytes(data[:cut] + bytes(100))
    ledger.close()
    file.path.unlink()
    *_, report = LedgerReader(tmp_path).verify()
    assert (report.state, report.entries, report.sound) == (State.LEFT, 4, True)
    assert report.unfinished_bytes == 25
    assert LedgerReader(tmp_path).find(trace_of(103)) == [entry(103)]


def test_where_there_is_no_ledger_that_is_said(tmp_path: Path) -> None:
    nowhere = LedgerReader(tmp_path / "nowhere")
    for look in (lambda: nowhere.find(trace_of(1)), lambda: list(nowhere.read())):
        with pytest.raises(NotFound, match="nowhere: there is no ledger"):
            look()
    assert LedgerReader(tmp_path).since_ms() is None
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="file"):
        LedgerReader(tmp_path / "file").since_ms()


def test_how_far_back_it_reaches(reader: LedgerReader) -> None:
    assert reader.since_ms() == BEGAN_MS

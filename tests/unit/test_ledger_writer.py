"""The ledger of a process: segments come and go, and nothing is lost without a word."""

import dataclasses
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.errors import StartupError
from serving.ledger.entry import Entry
from serving.ledger.files import delete_oldest, segment_files, trim_leftovers
from serving.ledger.marks import Loss
from serving.ledger.reader import LedgerReader, State
from serving.ledger.segment import SegmentWriter
from serving.ledger.writer import MAX_SETTINGS_BYTES, RETRY_S, Ledger, LedgerStats
from tests.ledger_entries import BEGAN_MS, MIB, entry, settings

SETTINGS_TEXT = '{"dialogue": {"max_failures": 2}}'
# More than fit into one segment.
MANY = 20_000


def entries_of(folder: Path) -> list[Entry]:
    return [line for line in LedgerReader(folder).read() if isinstance(line, Entry)]


def losses_of(folder: Path) -> list[Loss]:
    return [line for line in LedgerReader(folder).read() if isinstance(line, Loss)]


def test_what_was_appended_is_there_at_once_and_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ledger"
    ledger = Ledger(settings(folder), SETTINGS_TEXT)
    assert list(folder.iterdir()) == []
    ledger.append(entry(0))
    (file,) = segment_files(folder)
    assert file.path.name == f"{BEGAN_MS}-{os.getpid()}-0.ledger"
    assert file.path.stat().st_size == MIB
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert entries_of(folder) == [entry(0)]
    ledger.append(entry(1))
    assert entries_of(folder) == [entry(0), entry(1)]
    ledger.close()
    assert entries_of(folder) == [entry(0), entry(1)]
    assert file.path.stat().st_size < 1000
    assert ledger.stats() == LedgerStats(written=2, lost=0)
    ledger.close()


def test_the_settings_are_found_by_the_digest_that_entries_name(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    ledger.append(dataclasses.replace(entry(0), settings=ledger.settings_digest))
    (read,) = entries_of(tmp_path)
    reader = LedgerReader(tmp_path)
    assert reader.settings_text(read.settings) == SETTINGS_TEXT
    assert reader.settings_text("0" * 12) is None
    assert Ledger(settings(tmp_path), "{}").settings_digest != read.settings
    ledger.close()


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    for number in range(MANY):
        ledger.append(entry(number))
    full, present = segment_files(tmp_path)
    assert MIB - 200 < full.path.stat().st_size <= MIB
    assert present.path.stat().st_size == MIB
    assert present.created_at_ms > full.created_at_ms
    assert entries_of(tmp_path) == [entry(number) for number in range(MANY)]
    assert [report.state for report in LedgerReader(tmp_path).verify()] == [
        State.CLOSED,
        State.WRITTEN,
    ]
    ledger.close()


def test_an_old_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path, age_s=2.0), SETTINGS_TEXT)
    for number in (0, 1999, 2000, 3999, 4001):
        ledger.append(entry(number))
    ledger.close()
    reports = list(LedgerReader(tmp_path).verify())
    assert [report.entries for report in reports] == [2, 2, 1]
    assert [report.first_at_ms - BEGAN_MS for report in reports] == [0, 2000, 4001]


def test_the_oldest_segments_are_deleted_beyond_the_bound(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path, max_bytes=3 * MIB), SETTINGS_TEXT)
    for number in range(5 * MANY):
        ledger.append(entry(number))
    ledger.close()
    assert sum(file.path.stat().st_size for file in segment_files(tmp_path)) <= 3 * MIB
    kept = entries_of(tmp_path)
    # One that is full, the last one, and room for the next.
    assert MIB // 70 < len(kept) < 2 * MIB // 65
    assert kept == [entry(number) for number in range(5 * MANY - len(kept), 5 * MANY)]
    assert ledger.stats() == LedgerStats(written=5 * MANY, lost=0)


def test_what_somebody_writes_is_not_deleted(tmp_path: Path) -> None:
    first = Ledger(settings(tmp_path), SETTINGS_TEXT)
    first.append(entry(0))
    second = Ledger(settings(tmp_path), SETTINGS_TEXT)
    second.append(entry(1, name="b"))
    second.close()
    delete_oldest(tmp_path, 0)
    assert entries_of(tmp_path) == [entry(0)]
    first.append(entry(2))
    first.close()
    assert entries_of(tmp_path) == [entry(0), entry(2)]
    delete_oldest(tmp_path, 0)
    assert segment_files(tmp_path) == []


def test_several_writers_share_a_folder(tmp_path: Path) -> None:
    # In the same millisecond of the same process.
    ledgers = {name: Ledger(settings(tmp_path), SETTINGS_TEXT) for name in "abc"}
    for number in range(30):
        for name, ledger in ledgers.items():
            ledger.append(entry(number, name=name))
    assert len(segment_files(tmp_path)) == 3
    found = entries_of(tmp_path)
    assert [one.at_ms for one in found] == [BEGAN_MS + n for n in range(30) for _ in "abc"]
    for name in "abc":
        assert [one for one in found if one in [entry(n, name=name) for n in range(30)]] == [
            entry(number, name=name) for number in range(30)
        ]
    for ledger in ledgers.values():
        ledger.close()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_bytes(bytes(100))
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    ledger.append(entry(0))
    ledger.close()
    delete_oldest(tmp_path, 0)
    assert list(tmp_path.iterdir()) == [other]
    assert other.read_bytes() == bytes(100)


# ---- left behind ----------------------------------------------------------------------------


def left_behind(folder: Path, entries: int) -> Path:
    """A segment whose writer is gone without a word, as after kill -9."""
    writer = SegmentWriter.create(folder, BEGAN_MS, MIB, SETTINGS_TEXT)
    for number in range(entries):
        assert writer.append(entry(number))
    copy = writer.path.with_name(f"{BEGAN_MS - 1}-1-0.ledger")
    copy.write_bytes(writer.path.read_bytes())
    writer.seal()
    writer.path.unlink()
    return copy


def test_what_was_left_behind_gives_back_its_room_and_nothing_else(tmp_path: Path) -> None:
    left = left_behind(tmp_path, 3)
    assert left.stat().st_size == MIB
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    assert left.stat().st_size < 1000
    ledger.append(entry(3))
    assert entries_of(tmp_path) == [entry(number) for number in range(4)]
    trimmed = left.read_bytes()
    trim_leftovers(tmp_path)
    assert left.read_bytes() == trimmed
    # The one that is being written keeps its room.
    assert [file.path.stat().st_size for file in segment_files(tmp_path)] == [len(trimmed), MIB]
    ledger.close()


def test_a_file_whose_writer_never_came_to_write_is_deleted(tmp_path: Path) -> None:
    for name, size in (("1790000000000-1-0.ledger", 0), ("1790000000001-1-0.ledger", MIB)):
        (tmp_path / name).write_bytes(bytes(size))
    Ledger(settings(tmp_path), SETTINGS_TEXT)
    assert segment_files(tmp_path) == []


# ---- no room --------------------------------------------------------------------------------


@contextmanager
def no_room() -> Iterator[None]:
    """No file may get as large as a segment: as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_without_room_calls_go_on_and_the_loss_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT, clock_s=clock)
    with no_room(), caplog.at_level(logging.WARNING):
        for number in range(10):
            ledger.append(entry(number))
        clock.now_s += 2 * RETRY_S
        ledger.append(entry(10))
    assert ledger.stats() == LedgerStats(written=0, lost=11)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"ledger.folder: {tmp_path}: no segment can be begun")
    # Nothing half made is left.
    assert list(tmp_path.iterdir()) == []
    # There is room again, which is not looked for at every call.
    ledger.append(entry(11))
    assert ledger.stats() == LedgerStats(written=0, lost=12)
    clock.now_s += 2 * RETRY_S
    caplog.clear()
    ledger.append(entry(12))
    assert ledger.stats() == LedgerStats(written=1, lost=12)
    assert [r.getMessage() for r in caplog.records] == [
        "the ledger is written again; 12 entries were lost so far"
    ]
    assert entries_of(tmp_path) == [entry(12)]
    loss = Loss(entries=12, first_at_ms=BEGAN_MS, last_at_ms=BEGAN_MS + 11)
    assert losses_of(tmp_path) == [loss]
    ledger.close()
    assert losses_of(tmp_path) == [loss]
    # Found by its time, not by that of the segment.
    assert [*LedgerReader(tmp_path).read(BEGAN_MS + 5, BEGAN_MS + 6)] == [loss]


def test_without_room_for_the_next_segment_an_old_one_is_filled(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path, age_s=1.0), SETTINGS_TEXT)
    ledger.append(entry(0))
    with no_room():
        ledger.append(entry(1001))
    assert ledger.stats() == LedgerStats(written=2, lost=0)
    ledger.close()
    assert entries_of(tmp_path) == [entry(0), entry(1001)]


def test_a_full_segment_keeps_what_it_has_when_there_is_no_next(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    ledger.append(entry(0))
    with no_room():
        for number in range(1, MANY):
            ledger.append(entry(number))
    stats = ledger.stats()
    assert stats.written + stats.lost == MANY
    assert stats.lost > 1000
    ledger.close()
    # A seal has room whatever happens; the loss may have none, and stays in the log then.
    (report,) = LedgerReader(tmp_path).verify()
    assert (report.state, report.entries, report.sound) == (State.CLOSED, stats.written, True)
    assert entries_of(tmp_path) == [entry(number) for number in range(stats.written)]


# ---- mistakes -------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_written_is_told_once_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    for number in range(3):
        ledger.append(dataclasses.replace(entry(number), code="FINE"))
        ledger.append(entry(number))
    assert ledger.stats() == LedgerStats(written=3, lost=3)
    assert [record.message for record in caplog.records] == [
        "the ledger cannot hold an entry; further ones are only counted"
    ]
    assert "FINE" in str(caplog.records[0].exc_info)
    ledger.close()
    assert entries_of(tmp_path) == [entry(number) for number in range(3)]
    assert losses_of(tmp_path) == [Loss(entries=3, first_at_ms=BEGAN_MS, last_at_ms=BEGAN_MS + 2)]


def test_what_comes_after_the_end_is_lost(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), SETTINGS_TEXT)
    ledger.append(entry(0))
    ledger.close()
    ledger.append(entry(1))
    assert ledger.stats() == LedgerStats(written=1, lost=1)
    assert entries_of(tmp_path) == [entry(0)]


def test_a_folder_that_cannot_be_one_is_named_by_its_setting(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(StartupError, match=r"^ledger\.folder: .*file/below"):
        Ledger(settings(blocker / "below"), SETTINGS_TEXT)


def test_settings_that_fit_into_no_record_are_refused(tmp_path: Path) -> None:
    Ledger(settings(tmp_path), "x" * MAX_SETTINGS_BYTES).append(entry(0))
    assert len(entries_of(tmp_path)) == 1
    with pytest.raises(StartupError, match="60001 bytes as text, at most 60000"):
        Ledger(settings(tmp_path), "x" * (MAX_SETTINGS_BYTES + 1))

"""Which versions answered a request: of late, of many, and never at the cost of the rest."""

import dataclasses
import math
import time
from pathlib import Path

import pytest

from serving.errors import StoreUnavailable
from serving.ledger import lookup
from serving.ledger.contents import SegmentBytes, read_segment
from serving.ledger.entry import Entry
from serving.ledger.files import segment_files
from serving.ledger.lookup import Answered, find_answered
from serving.ledger.writer import Ledger
from tests.ledger_entries import (
    BEGAN_MS,
    RANKER_1,
    UNDERSTANDING_3,
    UNDERSTANDING_4,
    entry,
    settings,
    trace_of,
)

# A new segment after ten entries.
AGE_S = 0.01
LIVE = (("understanding", 3, "live"), ("ranker", 1, "live"))


def later(number: int, at_ms: int) -> Entry:
    """An entry of the same trace at another time."""
    return dataclasses.replace(entry(number), at_ms=at_ms)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Ten closed segments of ten entries, and an open one of five."""
    ledger = Ledger(settings(tmp_path, age_s=AGE_S), "{}")
    for number in range(105):
        ledger.append(entry(number))
    return ledger


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the segments that are read from now on."""
    names: list[str] = []

    def noting(path: Path) -> SegmentBytes:
        names.append(path.name)
        return read_segment(path)

    monkeypatch.setattr(lookup, "read_segment", noting)
    return names


@pytest.mark.usefixtures("ledger")
def test_requests_are_found_wherever_they_are(tmp_path: Path) -> None:
    numbers = (0, 9, 10, 57, 99, 100, 104)
    wanted = [trace_of(number) for number in (*numbers, 105)]
    assert find_answered(tmp_path, wanted, math.inf) == {
        trace_of(number): Answered(at_ms=BEGAN_MS + number, versions=LIVE) for number in numbers
    }


def test_a_search_ends_where_all_is_found(tmp_path: Path, read: list[str]) -> None:
    ledger = Ledger(settings(tmp_path, age_s=100.0), "{}")
    # A segment each, further apart than calls of one trace are.
    for number in range(5):
        ledger.append(later(number, BEGAN_MS + number * 200_000))
    names = [file.path.name for file in segment_files(tmp_path)]
    assert len(names) == 5
    find_answered(tmp_path, [trace_of(4)], math.inf)
    assert read == names[-1:]
    read.clear()
    find_answered(tmp_path, [trace_of(4), trace_of(2)], math.inf)
    assert read == names[:1:-1]
    read.clear()
    find_answered(tmp_path, [trace_of(9)], math.inf)
    assert read == names[::-1]


def test_when_time_is_up_only_what_is_being_written_is_searched(
    tmp_path: Path, ledger: Ledger, read: list[str]
) -> None:
    other = Ledger(settings(tmp_path), "{}")
    other.append(entry(7, name="b"))
    wanted = [trace_of(7, "b"), trace_of(104), trace_of(3)]
    found = find_answered(tmp_path, wanted, time.monotonic())
    assert set(found) == {trace_of(7, "b"), trace_of(104)}
    assert len(read) == 2
    ledger.close()
    other.close()


def test_calls_of_one_trace_count_together_over_all_replicas(tmp_path: Path) -> None:
    here, there = (Ledger(settings(tmp_path), "{}") for _ in range(2))
    here.append(entry(0, models=(UNDERSTANDING_3,)))
    here.append(entry(0, models=(UNDERSTANDING_3, RANKER_1)))
    there.append(dataclasses.replace(entry(0, models=(UNDERSTANDING_4,)), at_ms=BEGAN_MS + 30_000))
    here.close()
    there.close()
    found = find_answered(tmp_path, [trace_of(0)], math.inf)[trace_of(0)]
    assert found.at_ms == BEGAN_MS + 30_000
    assert sorted(found.versions) == [
        ("ranker", 1, "live"),
        ("understanding", 3, "live"),
        ("understanding", 4, "canary"),
    ]


def test_only_answers_by_models_count(tmp_path: Path) -> None:
    ledger = Ledger(settings(tmp_path), "{}")
    ledger.append(entry(0, code="UNAVAILABLE"))
    ledger.append(entry(1, method="RecordFeedback", models=()))
    ledger.append(entry(2, code="DEADLINE_EXCEEDED"))
    ledger.append(later(2, BEGAN_MS + 9))
    found = find_answered(tmp_path, [trace_of(number) for number in range(3)], math.inf)
    assert found == {trace_of(2): Answered(at_ms=BEGAN_MS + 9, versions=LIVE)}
    ledger.close()


def test_what_is_damaged_costs_only_itself(tmp_path: Path, ledger: Ledger) -> None:
    ledger.close()
    path = segment_files(tmp_path)[3].path
    data = bytearray(path.read_bytes())
    data[data.find(bytes.fromhex(trace_of(33))) + 20] ^= 0xFF
    path.write_bytes(data)
    wanted = [trace_of(number) for number in (32, 33, 34)]
    assert set(find_answered(tmp_path, wanted, math.inf)) == {trace_of(32), trace_of(34)}


def test_segments_that_are_deleted_meanwhile_are_left_out(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.close()
    # Listed, and gone when it is opened; of another one the seal was still read.
    files = segment_files(tmp_path)
    files[0].path.unlink()
    monkeypatch.setattr(lookup, "segment_files", lambda _folder: files)

    def vanishing(path: Path) -> SegmentBytes:
        if path == files[4].path:
            path.unlink()
        return read_segment(path)

    monkeypatch.setattr(lookup, "read_segment", vanishing)
    wanted = [trace_of(number) for number in (5, 45, 55)]
    assert set(find_answered(tmp_path, wanted, math.inf)) == {trace_of(55)}


def test_without_a_ledger_nothing_is_found(tmp_path: Path) -> None:
    assert find_answered(tmp_path / "none", [trace_of(0)], math.inf) == {}
    assert find_answered(tmp_path, [trace_of(0)], math.inf) == {}


def test_a_ledger_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("no folder")
    with pytest.raises(StoreUnavailable, match="ledger"):
        find_answered(tmp_path / "ledger", [trace_of(0)], math.inf)

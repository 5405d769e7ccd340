"""What the ledger acknowledged is there: killed writers, readers beside them, a full disk."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from serving.ledger.entry import Entry
from serving.ledger.files import segment_files
from serving.ledger.marks import Loss
from serving.ledger.reader import LedgerReader, State
from serving.ledger.writer import RETRY_S, Ledger, LedgerStats
from tests.ledger_entries import MIB, entry, settings, trace_of
from tests.small_disk import CannotMount, limited_disk

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

ROOT = Path(__file__).parents[2]
ENDLESS = 10**9
ROUNDS = 6


def start_writer(
    folder: Path, name: str, first: int, entries: int, *options: str
) -> subprocess.Popen[bytes]:
    arguments = [str(folder), name, str(first), str(entries), *options]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger_writer", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


def acknowledged(writer: subprocess.Popen[bytes]) -> list[int]:
    """What a killed writer had told that was not read yet."""
    with writer:
        assert writer.stdout is not None
        return [int(line) for line in writer.stdout if line.endswith(b"\n")]


def traces(folder: Path) -> list[str]:
    return [line.trace_id for line in LedgerReader(folder).read() if isinstance(line, Entry)]


def test_everything_acknowledged_survives_kill_nine(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    told: list[str] = []
    nexts = {"a": 0, "b": 0}
    for _ in range(ROUNDS):
        with ExitStack() as running:
            writers = {}
            for name, first in nexts.items():
                writers[name] = start_writer(tmp_path, name, first, ENDLESS)
                running.callback(writers[name].wait)
                running.callback(writers[name].kill)
            # Killed in the middle of appending, the first one while the other goes on.
            for name, writer in writers.items():
                assert writer.stdout is not None
                read = [int(writer.stdout.readline()) for _ in range(int(rng.integers(1, 4000)))]
                writer.kill()
                read += acknowledged(writer)
                assert read == list(range(nexts[name], nexts[name] + len(read)))
                told += [trace_of(number, name) for number in read]
                # One more may be there, of which nobody was told.
                nexts[name] += len(read) + 1
        there = traces(tmp_path)
        assert len(there) == len(set(there))
        assert set(told) <= set(there)
        assert len(there) <= len(told) + 2 * ROUNDS
        reports = list(LedgerReader(tmp_path).verify())
        assert all(report.sound for report in reports)
        assert State.WRITTEN not in {report.state for report in reports}
    assert len(told) > 2 * ROUNDS
    assert all(len(LedgerReader(tmp_path).find(trace)) == 1 for trace in told[::5000])
    # The next writer gives back what was allocated, and loses nothing by that. A writer that was
    # killed while it copied an entry leaves the beginning of it, so that any byte may be the last.
    Ledger(settings(tmp_path), "{}").close()
    assert not any(file.path.read_bytes().endswith(b"\0") for file in segment_files(tmp_path))
    assert traces(tmp_path) == there


def test_readers_see_whole_entries_while_others_write(tmp_path: Path) -> None:
    entries = 60_000
    with ExitStack() as running:
        writers = {name: start_writer(tmp_path, name, 0, entries, "quiet") for name in "ab"}
        for writer in writers.values():
            running.enter_context(writer)
            running.callback(writer.kill)
        looks = 0
        seen = 0
        while any(writer.poll() is None for writer in writers.values()):
            reports = list(LedgerReader(tmp_path).verify())
            assert [damage for report in reports for damage in report.damages] == []
            now = sum(report.entries for report in reports)
            assert now >= seen
            looks += seen < now < 2 * entries
            seen = now
        assert [writer.returncode for writer in writers.values()] == [0, 0]
    # Some of the looks were in the middle of it.
    assert looks > 2
    expected = {trace_of(number, name) for name in "ab" for number in range(entries)}
    there = traces(tmp_path)
    assert len(there) == len(expected)
    assert set(there) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    try:
        with limited_disk(tmp_path / "disk", mib=3) as folder:
            yield folder
    except CannotMount as error:
        pytest.skip(str(error))


def test_a_full_disk_costs_entries_and_never_the_process(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (MIB + MIB // 2))
    now_s = 0.0
    ledger = Ledger(settings(small_disk / "ledger"), "{}", clock_s=lambda: now_s)
    # More than fit into the one segment for which there is room, to its very end.
    for number in range(20_000):
        ledger.append(entry(number))
    written, lost = ledger.stats().written, ledger.stats().lost
    assert written + lost == 20_000
    assert lost > 3000
    assert [record.message for record in caplog.records if "No space left" in record.message]
    filler.unlink()
    now_s += RETRY_S
    ledger.append(entry(20_000))
    assert ledger.stats() == LedgerStats(written=written + 1, lost=lost)
    ledger.close()
    lines = list(LedgerReader(small_disk / "ledger").read())
    kept = [line for line in lines if isinstance(line, Entry)]
    assert kept == [entry(number) for number in [*range(written), 20_000]]
    (loss,) = [line for line in lines if isinstance(line, Loss)]
    assert loss == Loss(
        entries=lost, first_at_ms=entry(written).at_ms, last_at_ms=entry(19_999).at_ms
    )

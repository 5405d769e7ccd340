"""What the ledger costs a request, and what looking something up takes.

python -m tests.ledger_bench
"""

import secrets
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serving.ledger.entry import Entry, ModelUse
from serving.ledger.files import delete_oldest, segment_files
from serving.ledger.reader import LedgerReader
from serving.ledger.segment import SegmentWriter
from serving.ledger.writer import Ledger
from serving.settings import LedgerSettings
from tests.ledger_entries import BEGAN_MS, NOT_READY, entry

ENTRIES = 500_000
SEGMENTS = 20
REPEATS = 7
CALLS = 20_000
MODELS = ("understanding", "encoder", "candidates", "ranker", "decision")


def tell(what: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{what:<60} {value:>10.2f} {unit}\n")


def microseconds(call: Callable[[], object]) -> float:
    """Of one call, the best of several rounds."""
    return min(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS * 1e6


def made(trace_id: str, at_ms: int) -> Entry:
    """As an ingress makes one: its parts anew for every request."""
    return Entry(
        trace_id=trace_id,
        at_ms=at_ms,
        method="Converse",
        code="OK",
        models=tuple([ModelUse(model, 3, "live", "9f86d081884c") for model in MODELS]),
        settings="5e77135e7700",
        degraded=(),
        duration_ms=12.25,
        customer="c0ffee0123456789",
    )


def measure_a_call(folder: Path) -> None:
    ledger = Ledger(LedgerSettings(folder=folder), "{}")
    trace_id = secrets.token_hex(16)
    ready = made(trace_id, BEGAN_MS)
    degraded = replace(entry(0), degraded=(NOT_READY,))
    tell("make an entry with five models", microseconds(lambda: made(trace_id, BEGAN_MS)), "us")
    tell("append it", microseconds(lambda: ledger.append(ready)), "us")
    tell("append one with a degraded step", microseconds(lambda: ledger.append(degraded)), "us")
    ledger.close()


def measure_segments(folder: Path) -> None:
    """What the append does besides that finds its segment full."""
    folder.mkdir()
    size_bytes = LedgerSettings().segment_bytes
    one = made(secrets.token_hex(16), BEGAN_MS)
    took_ms, deleted_ms = [], []
    full: SegmentWriter | None = None
    for number in range(SEGMENTS):
        began = time.perf_counter()
        fresh = SegmentWriter.create(folder, BEGAN_MS + number, size_bytes, "{}")
        if full is not None:
            full.seal()
        took_ms.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        delete_oldest(folder, 4 * size_bytes)
        deleted_ms.append((time.perf_counter() - began) * 1e3)
        full = fresh
        while full.append(one):
            pass
    tell("begin the next segment, median", statistics.median(took_ms), "ms")
    tell("delete the oldest, in a thread, median", statistics.median(deleted_ms), "ms")


def measure_many(folder: Path) -> None:
    ledger = Ledger(LedgerSettings(folder=folder), "{}")
    traces = [secrets.token_hex(16) for _ in range(ENTRIES)]
    pauses_us = []
    for number, trace in enumerate(traces):
        one = made(trace, BEGAN_MS + number)
        began = time.perf_counter()
        ledger.append(one)
        pauses_us.append((time.perf_counter() - began) * 1e6)
    pauses_us.sort()
    tell(
        f"mean of {ENTRIES} different ones, segments begun included",
        statistics.fmean(pauses_us),
        "us",
    )
    tell("99.9 of 100 at most", pauses_us[len(pauses_us) * 999 // 1000], "us")
    ledger.close()
    size_bytes = sum(file.path.stat().st_size for file in segment_files(folder))
    stats = ledger.stats()
    tell("bytes an entry", size_bytes / stats.written, "")
    tell("lost", stats.lost, "")

    reader = LedgerReader(folder)
    began = time.perf_counter()
    found = reader.find(traces[ENTRIES // 3])
    tell("find a request", (time.perf_counter() - began) * 1e3, "ms")
    assert len(found) == 1
    began = time.perf_counter()
    sound = all(report.sound for report in reader.verify())
    took_s = time.perf_counter() - began
    assert sound
    tell(f"verify {size_bytes / 1e6:.0f} MB", took_s * 1e3, "ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=".") as name:
        measure_a_call(Path(name) / "one")
        measure_segments(Path(name) / "segments")
        measure_many(Path(name) / "many")

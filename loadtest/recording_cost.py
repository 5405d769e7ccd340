"""What recording costs a replica: `python -m loadtest.recording_cost`.

The time of an `offer`, the CPU time that the recorder's thread needs for a record (for so long, at
most, it keeps Python's lock), and how long a busy event loop waits beside it.
"""

import asyncio
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.recording.masking import Masker
from serving.recording.recorder import Recorder
from serving.recording.records import Record, recorded_answer
from serving.recording.sampling import Sampler
from serving.recording.segments import SegmentWriter
from serving.settings import RecordingSettings
from serving.types import Slot, Understanding

TEXT = (
    "hi, my name is anna schmidt, where is my order 12345? it went to 12 Oak Road, "
    "i want my money back for the blue mug"
)
# The longest that are recorded, and the most work for the patterns.
HARD = ("a." * 500, "x'" * 500, "1 " * 500, "my name is " * 90, "call me " * 100 + "1 1 1 1 1 1 1")
ANSWER = Understanding(
    intent="track_order",
    intent_confidence=0.9,
    slots=(Slot(name="order_number", value="12345", start_char=47, end_char=52),),
)
KEY = bytes(16)
EVERYTHING = 1e9
OFFERS = 100_000
RATES = (0, 2, 20, 100)
WINDOWS = 15
WINDOW_S = 1.0
STALL_S = 0.001


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="cartwright-recording-") as folder:
        for name, changes in (
            ("taken", {"per_second": EVERYTHING, "max_waiting": 10 * OFFERS}),
            ("left out by the rate", {}),
            ("left out by the share", {"share": 0.001}),
            ("queue full", {"per_second": EVERYTHING, "max_waiting": 1}),
        ):
            with recorder(Path(folder), started=False, **changes) as one:
                print(f"offer, {name}: {offer_us(one):.2f} us")
        print(f"a record: {record_us(TEXT):.0f} us of CPU time")
        print(f"a record at worst: {max(map(record_us, HARD)):.0f} us of CPU time")
        # By rate: of each window, stalls a second, and the longest wait.
        windows: dict[int, list[tuple[float, float]]] = {rate: [] for rate in RATES}
        for _ in range(WINDOWS):
            # In turn, since others on this machine make the loop wait too.
            for rate, seen in windows.items():
                with recorder(Path(folder), per_second=EVERYTHING) as one:
                    waits_s = asyncio.run(busy(one, rate))
                seen.append((sum(wait_s > STALL_S for wait_s in waits_s) / WINDOW_S, max(waits_s)))
        for rate, seen in windows.items():
            stalls, longest_s = (median(values) for values in zip(*seen, strict=True))
            print(
                f"a busy loop beside {rate:3} records/s: {stalls:.1f} waits/s above 1 ms, longest "
                f"in {WINDOW_S:g} s {longest_s * 1e3:.1f} ms (medians of {WINDOWS})"
            )


@contextmanager
def recorder(folder: Path, *, started: bool = True, **changes: float) -> Iterator[Recorder]:
    """A recorder with these settings."""
    settings = RecordingSettings.model_validate(changes)
    one = Recorder(
        settings,
        Masker(KEY),
        Sampler(settings.share, settings.per_second),
        SegmentWriter(
            folder,
            segment_max_bytes=settings.segment_max_bytes,
            segment_max_age_s=settings.segment_max_age_s,
            max_bytes=settings.max_bytes,
        ),
    )
    if started:
        one.start()
    yield one
    if started:
        one.close()


def request() -> RequestContext:
    """A request that a version has answered."""
    context = RequestContext(deadline=Deadline.after_ms(60_000), trace_id="0" * 32)
    context.model_versions["understanding"] = 1
    return context


def offer_us(one: Recorder) -> float:
    """Microseconds of an offer; the least of several times."""
    context = request()

    def offer() -> None:
        one.offer("Understand", "understanding", TEXT, ANSWER, "live", context)

    empty_s = min(timeit.repeat(lambda: None, number=OFFERS, repeat=5))
    return (min(timeit.repeat(offer, number=OFFERS, repeat=5)) - empty_s) / OFFERS * 1e6


def record_us(text: str) -> float:
    """Microseconds of CPU time for masking and JSON."""
    masker = Masker(KEY)
    times_s = []
    for _ in range(200):
        began_s = time.thread_time()
        masked = masker.mask(text)
        Record(
            arrived_at_ms=0,
            trace_id="",
            method="Understand",
            model="understanding",
            version=1,
            arm="live",
            text=masked.text,
            answer=recorded_answer(ANSWER, masked),
        ).line()
        times_s.append(time.thread_time() - began_s)
    return sorted(times_s)[len(times_s) // 2] * 1e6


async def busy(one: Recorder, rate: float) -> list[float]:
    """Seconds of each turn of a loop that always has something to do, with so many offers/s."""
    context = request()
    turns_s = []
    offered = 0
    began_s = last_s = time.perf_counter()
    while last_s - began_s < WINDOW_S:
        if offered < (last_s - began_s) * rate:
            one.offer("Understand", "understanding", TEXT, ANSWER, "live", context)
            offered += 1
        await asyncio.sleep(0)
        now_s = time.perf_counter()
        turns_s.append(now_s - last_s)
        last_s = now_s
    return turns_s


if __name__ == "__main__":
    main()

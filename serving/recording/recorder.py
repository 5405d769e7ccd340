"""Records a bounded, masked sample of live requests beside the request path.

    event loop:  offer ─▶ Sampler ─▶ queue (bounded)
    one thread:                        └─▶ Masker ─▶ SegmentWriter ─▶ disk

The request path decides and appends to a queue; it wakes nobody and waits for nothing. The thread
looks at the queue a few times a second and does one record at a time, with a pause after each in
which others get Python's lock. Whatever goes wrong there costs records, never requests.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from serving.context import RequestContext
from serving.recording.key import masking_key
from serving.recording.masking import Masker
from serving.recording.records import Record, recorded_answer
from serving.recording.sampling import Sampler
from serving.recording.segments import SegmentWriter
from serving.settings import RecordingSettings, StoreSettings
from serving.types import Understanding

_log = logging.getLogger(__name__)

# Below `stores.folder`.
FOLDER = "recording"
KEY_FILE = "recording.key"

# How often the thread looks at the queue; what it finds is on disk well within a second.
_PERIOD_S = 0.25
_FLUSH_S = 0.5
# After each record. Without it the thread would hold Python's lock for up to its switch interval
# (5 ms) every time that the event loop lets go of it.
_PAUSE_S = 0.001
# After the disk could not be written.
_RETRY_S = 5.0
_CLOSE_TIMEOUT_S = 5.0


@dataclass(kw_only=True)
class RecorderStats:
    """Counts since the start."""

    # Requests that the recorder was told of.
    offered: int = 0
    # Of those that were chosen: left out because the queue was full, or the text is too long.
    dropped: int = 0
    too_long: int = 0
    # Left out because masking failed.
    unmaskable: int = 0
    written: int = 0
    # Times that the disk could not be written; the records wait meanwhile.
    disk_errors: int = 0
    # Given up when the recorder was closed, because the disk could not be written.
    lost: int = 0


class _Offered(NamedTuple):
    method: str
    model: str
    text: str
    answer: Understanding | None
    arm: str
    version: int
    trace_id: str
    # On the clock of `time.perf_counter`.
    started_s: float


class Recorder:
    """Call `start` before the first request and `close` after the last."""

    def __init__(
        self, settings: RecordingSettings, masker: Masker, sampler: Sampler, segments: SegmentWriter
    ) -> None:
        """Starts nothing."""
        self.stats = RecorderStats()
        self._max_text_chars = settings.max_text_chars
        self._max_waiting = settings.max_waiting
        self._masker = masker
        self._sampler = sampler
        self._segments = segments
        self._waiting: deque[_Offered] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._flushed_at_s = 0.0
        self._retry_at_s = 0.0
        # What was complained of, and not solved yet.
        self._disk_fails = False
        self._masking_fails = False

    def offer(
        self,
        method: str,
        model: str,
        text: str,
        answer: Understanding | None,
        arm: str,
        context: RequestContext,
    ) -> None:
        """Tells of a request that a model has answered; costs about a microsecond.

        Call it in one thread, the event loop's. A request that no version answered, because the
        step was degraded, is not recorded.

        Args:
            method: that the client called.
            model: that read the text.
            text: as it came; it is masked before it goes anywhere.
            answer: of `understanding`; None for other models.
            arm: why that version answered.
            context: of the request; its version, trace and start are taken, it is not kept.
        """
        self.stats.offered += 1
        version = context.model_versions.get(model)
        if version is None or not self._sampler.wants():
            return
        if len(text) > self._max_text_chars:
            self.stats.too_long += 1
        elif len(self._waiting) >= self._max_waiting:
            self.stats.dropped += 1
        else:
            self._waiting.append(
                _Offered(
                    method, model, text, answer, arm, version, context.trace_id, context.started_s
                )
            )

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Writes what waits and ends the thread; blocks for a moment, so call it in a thread."""
        self._closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _log.warning("recording: the disk is too slow; what waits is given up")

    def _run(self) -> None:
        while not self._closing.wait(_PERIOD_S):
            if time.monotonic() >= self._retry_at_s:
                self._write_waiting(_PAUSE_S)
        self._write_waiting(0.0)
        self._to_disk(self._segments.close)
        self.stats.lost += self._segments.pending

    def _write_waiting(self, pause_s: float) -> None:
        for _ in range(len(self._waiting)):
            self._take(self._waiting.popleft())
            time.sleep(pause_s)
            if time.monotonic() - self._flushed_at_s > _FLUSH_S and not self._flush():
                return
        self._flush()

    def _take(self, offered: _Offered) -> None:
        try:
            self._segments.append(self._record(offered).line())
        except Exception as error:  # noqa: BLE001 - one bad text must not end the recording
            self.stats.unmaskable += 1
            if not self._masking_fails:
                # Without its text and traceback: they may hold what should have been masked.
                _log.error(
                    "recording: a text cannot be masked and is left out: %s", type(error).__name__
                )
            self._masking_fails = True

    def _record(self, offered: _Offered) -> Record:
        masked = self._masker.mask(offered.text)
        age_s = time.perf_counter() - offered.started_s
        return Record(
            arrived_at_ms=int((time.time() - age_s) * 1000.0),
            trace_id=offered.trace_id,
            method=offered.method,
            model=offered.model,
            version=offered.version,
            arm=offered.arm,
            text=masked.text,
            answer=None if offered.answer is None else recorded_answer(offered.answer, masked),
        )

    def _flush(self) -> bool:
        self._flushed_at_s = time.monotonic()
        return self._to_disk(self._segments.flush)

    def _to_disk(self, write: Callable[[], None]) -> bool:
        """Whether it could be written; if not, there is a pause before the next try."""
        try:
            write()
        except OSError as error:
            self.stats.disk_errors += 1
            self._retry_at_s = time.monotonic() + _RETRY_S
            if not self._disk_fails:
                _log.warning(
                    "recording: cannot be written, tried again from time to time: %s", error
                )
            self._disk_fails = True
            return False
        finally:
            self.stats.written = self._segments.written
        if self._disk_fails:
            _log.info("recording: can be written again")
        self._disk_fails = False
        return True


def open_recorder(
    recording: RecordingSettings, stores: StoreSettings, known_names: Iterable[str] = ()
) -> Recorder | None:
    """A started recorder; None if recording is switched off.

    Args:
        recording: how much is recorded.
        stores: the records lie below their folder.
        known_names: names that are masked wherever they stand.

    Raises:
        StartupError: the key of the stand-ins cannot be read or made.
    """
    if not recording.enabled:
        return None
    recorder = Recorder(
        recording,
        Masker(masking_key(stores.folder / KEY_FILE), known_names),
        Sampler(recording.share, recording.per_second),
        SegmentWriter(
            stores.folder / FOLDER,
            segment_max_bytes=recording.segment_max_bytes,
            segment_max_age_s=recording.segment_max_age_s,
            max_bytes=recording.max_bytes,
        ),
    )
    recorder.start()
    return recorder

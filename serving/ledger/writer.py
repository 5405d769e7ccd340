"""The ledger of one process: appends entries, and begins a new segment when one is full or old.

What cannot be written never fails a request. It is counted, logged once, and noted in the ledger
itself as soon as there is room again.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import StartupError
from serving.ledger.entry import Entry
from serving.ledger.files import delete_oldest, trim_leftovers
from serving.ledger.marks import Loss, digest_of
from serving.ledger.segment import SegmentWriter
from serving.settings import LedgerSettings

logger = logging.getLogger(__name__)

# Between two attempts to begin a segment while that fails.
RETRY_S = 1.0
# Longest text of the settings: it has to fit into one record.
MAX_SETTINGS_BYTES = 60_000


@dataclass(frozen=True, kw_only=True)
class LedgerStats:
    """Entries since the start."""

    written: int
    lost: int


class Ledger:
    """Appends to a folder that other processes may append to as well. One thread.

    An append costs microseconds; one that begins a new segment (every 60,000th, by default) two
    milliseconds.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        settings_text: str,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes the folder; the first segment comes with the first entry.

        Args:
            settings: of the ledger.
            settings_text: the settings by which this process answers, as JSON, without secrets.
                Every segment holds them, every entry their digest.
            clock_s: monotonic, in seconds.

        Raises:
            StartupError: the folder cannot be written to, or the text is too long.
        """
        length = len(settings_text.encode())
        if length > MAX_SETTINGS_BYTES:
            raise StartupError(f"settings: {length} bytes as text, at most {MAX_SETTINGS_BYTES}")
        folder = settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            trim_leftovers(folder)
            delete_oldest(folder, settings.max_bytes - settings.segment_bytes)
        except OSError as error:
            raise StartupError(f"ledger.folder: {folder}: {error}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StartupError(f"ledger.folder: {folder}: is not writable")
        self.settings_digest = digest_of(settings_text)
        self._folder = folder
        self._settings = settings
        self._settings_text = settings_text
        self._clock_s = clock_s
        self._segment: SegmentWriter | None = None
        self._deleting: threading.Thread | None = None
        self._rotate_at_ms = 0
        self._retry_at_s = -math.inf
        self._written = 0
        self._lost = 0
        # Lost and not noted in the ledger yet.
        self._loss: Loss | None = None
        self._complained = False
        self._complained_of_an_entry = False

    def append(self, entry: Entry) -> None:
        """Writes an entry; it survives `kill -9` of this process once this returns."""
        try:
            written = self._append(entry)
        except ValueError:
            # A defect of the caller: the request went well all the same.
            if not self._complained_of_an_entry:
                self._complained_of_an_entry = True
                logger.exception("the ledger cannot hold an entry; further ones are only counted")
            written = False
        if written:
            self._written += 1
        else:
            self._lose(entry.at_ms)

    def stats(self) -> LedgerStats:
        """What was written and lost so far."""
        return LedgerStats(written=self._written, lost=self._lost)

    def close(self) -> None:
        """Closes the segment. What is appended afterwards is lost."""
        self._retry_at_s = math.inf
        segment, self._segment = self._segment, None
        if segment is not None:
            self._note_loss(segment)
            _seal(segment)
        if self._deleting is not None:
            self._deleting.join()

    def _append(self, entry: Entry) -> bool:
        segment = self._segment
        if segment is not None and entry.at_ms < self._rotate_at_ms and segment.append(entry):
            return True
        if self._rotate(entry.at_ms):
            segment = self._segment
        # Without a new segment, an old one may still have room.
        return segment is not None and segment.append(entry)

    def _rotate(self, at_ms: int) -> bool:
        """Begins a new segment; False if that is not possible now."""
        now_s = self._clock_s()
        if now_s < self._retry_at_s:
            return False
        try:
            fresh = SegmentWriter.create(
                self._folder, at_ms, self._settings.segment_bytes, self._settings_text
            )
        except OSError as error:
            self._retry_at_s = now_s + RETRY_S
            if not self._complained:
                self._complained = True
                logger.warning(
                    "ledger.folder: %s: no segment can be begun, calls go unrecorded: %s",
                    self._folder,
                    error,
                )
            return False
        full, self._segment = self._segment, fresh
        self._rotate_at_ms = at_ms + round(self._settings.segment_age_s * 1000)
        if full is not None:
            _seal(full)
        self._note_loss(fresh)
        if self._complained:
            self._complained = False
            logger.warning("the ledger is written again; %d entries were lost so far", self._lost)
        # In a thread: it takes milliseconds, in which the system needs nothing of Python.
        if self._deleting is None or not self._deleting.is_alive():
            self._deleting = threading.Thread(target=self._delete_oldest, name="ledger-delete")
            self._deleting.start()
        return True

    def _delete_oldest(self) -> None:
        """Makes room for the next segment already."""
        try:
            delete_oldest(self._folder, self._settings.max_bytes - self._settings.segment_bytes)
        except OSError as error:
            logger.warning("ledger.folder: %s: old segments stay: %s", self._folder, error)

    def _note_loss(self, segment: SegmentWriter) -> None:
        if self._loss is not None and segment.note_loss(self._loss):
            self._loss = None

    def _lose(self, at_ms: int) -> None:
        self._lost += 1
        loss = self._loss
        self._loss = Loss(
            entries=1 + (loss.entries if loss else 0),
            first_at_ms=min(loss.first_at_ms, at_ms) if loss else at_ms,
            last_at_ms=max(loss.last_at_ms, at_ms) if loss else at_ms,
        )


def _seal(segment: SegmentWriter) -> None:
    try:
        segment.seal()
    except OSError as error:
        logger.warning("%s: keeps its size: %s", segment.path, error)

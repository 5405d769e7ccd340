"""A segment being written: a file, preallocated and mapped, of one process.

An append copies bytes into the mapped file: no system call, and Python's lock is kept. The copy
lies in the system's page cache, so that what was appended survives `kill -9` of the process; a
power cut may cost the last half minute, which the system had not written to the disk yet. All
blocks are allocated beforehand, so that a full disk is an `OSError` here and never a SIGBUS later.
"""

import mmap
import os
from pathlib import Path
from typing import Self

from serving.ledger.entry import Entry, Setup, encode_entry, encode_setup
from serving.ledger.files import new_file
from serving.ledger.marks import (
    FORMAT,
    SEAL_BYTES,
    Loss,
    Seal,
    Start,
    encode_loss,
    encode_seal,
    encode_start,
)
from serving.ledger.record import frame

# A setup is written again after so many bytes: a damaged one costs at most their entries.
SETUP_SPAN_BYTES = 1 << 16


class SegmentWriter:
    """Appends to one new segment. One thread."""

    def __init__(self, path: Path, descriptor: int, mapped: mmap.mmap, at_ms: int) -> None:
        """See `create`."""
        self.path = path
        self._descriptor = descriptor
        self._mapped = mapped
        self._position = 0
        # The seal always has room.
        self._limit = len(mapped) - SEAL_BYTES
        self._setups: dict[tuple[object, ...], int] = {}
        self._repeat_at = 0
        self._entries = 0
        self._first_at_ms = at_ms
        self._last_at_ms = at_ms

    @classmethod
    def create(cls, folder: Path, at_ms: int, size_bytes: int, settings_text: str) -> Self:
        """Makes a segment file.

        Args:
            folder: where.
            at_ms: Unix time now.
            size_bytes: of the file.
            settings_text: of this process, as JSON.

        Raises:
            OSError: it cannot be made, e.g. because the disk is full; nothing is left of it.
        """
        path, descriptor = new_file(folder, at_ms)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            mapped = mmap.mmap(descriptor, size_bytes)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        writer = cls(path, descriptor, mapped, at_ms)
        start = Start(
            format=FORMAT, pid=os.getpid(), created_at_ms=at_ms, settings_text=settings_text
        )
        writer._put(encode_start(start))
        return writer

    def append(self, entry: Entry) -> bool:
        """Writes an entry; False if there is no room for it.

        Raises:
            ValueError: a field of it cannot be written.
        """
        if self._position >= self._repeat_at:
            self._setups.clear()
            self._repeat_at = self._position + SETUP_SPAN_BYTES
        shared = (entry.method, entry.models, entry.settings)
        setup_place = self._setups.get(shared)
        if setup_place is None:
            setup_place = self._position
            if not self._put(encode_setup(Setup(*shared))):
                return False
            self._setups[shared] = setup_place
        if not self._put(encode_entry(entry, setup_place)):
            return False
        self._entries += 1
        self._cover(entry.at_ms)
        return True

    def note_loss(self, loss: Loss) -> bool:
        """Writes that entries are missing; False if there is no room for it."""
        if not self._put(encode_loss(loss)):
            return False
        self._cover(loss.first_at_ms)
        self._cover(loss.last_at_ms)
        return True

    def seal(self) -> None:
        """Says that the segment is complete, gives back what it did not need, and closes it.

        Raises:
            OSError: the file could not be cut; it is sealed and closed all the same.
        """
        self._limit = len(self._mapped)
        self._put(
            encode_seal(
                Seal(
                    entries=self._entries,
                    first_at_ms=self._first_at_ms,
                    last_at_ms=self._last_at_ms,
                )
            )
        )
        self._mapped.close()
        try:
            os.ftruncate(self._descriptor, self._position)
        finally:
            os.close(self._descriptor)

    def _cover(self, at_ms: int) -> None:
        if at_ms < self._first_at_ms:
            self._first_at_ms = at_ms
        elif at_ms > self._last_at_ms:
            self._last_at_ms = at_ms

    def _put(self, payload: bytes) -> bool:
        record = frame(payload, self._position)
        stop = self._position + len(record)
        if stop > self._limit:
            return False
        self._mapped[self._position : stop] = record
        self._position = stop
        return True

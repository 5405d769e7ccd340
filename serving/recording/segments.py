"""Segments: files of compressed JSON lines, bounded in size, age and number.

    <folder>/<start in ms>-<8 hex digits>.jsonl.gz

Each is one gzip stream that is brought to a byte boundary (`Z_SYNC_FLUSH`) at every flush, so that
one which a killed process left behind can be read up to its last flush, by `zcat` as well. Several
processes write into one folder, each its own segments; whoever writes deletes the oldest of all.
"""

import os
import re
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# A window of 32 KiB, in gzip's format.
GZIP_WBITS = 16 + zlib.MAX_WBITS
_NAME = re.compile(r"(\d{13})-[0-9a-f]{8}\.jsonl\.gz")
_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A file of a recording."""

    path: Path
    started_at_ms: int
    size_bytes: int
    # When it was last written to.
    changed_at_ms: int


def segments_in(folder: Path) -> list[Segment]:
    """The segments of a folder, the oldest first; none if there is no folder.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    for entry in entries:
        name = _NAME.fullmatch(entry.name)
        if name is None:
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:
            # Another process deleted it.
            continue
        found.append(
            Segment(
                path=Path(entry.path),
                started_at_ms=int(name[1]),
                size_bytes=status.st_size,
                changed_at_ms=status.st_mtime_ns // 1_000_000,
            )
        )
    return found


class SegmentWriter:
    """Writes lines into segments of a folder. For one thread; blocking."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_max_bytes: int,
        segment_max_age_s: float,
        max_bytes: int,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Makes nothing yet.

        Args:
            folder: made if needed.
            segment_max_bytes: compressed size from which a segment is closed.
            segment_max_age_s: age in seconds from which it is closed.
            max_bytes: of all segments in the folder; held after each flush, the segments that are
                written now excepted.
            clock_s: Unix time in seconds.
        """
        self._folder = folder
        self._segment_max_bytes = segment_max_bytes
        self._segment_max_age_s = segment_max_age_s
        self._max_bytes = max_bytes
        self._clock_s = clock_s
        # Lines on disk since the start.
        self.written = 0
        self._pending: list[bytes] = []
        self._open: _OpenSegment | None = None

    @property
    def pending(self) -> int:
        """Lines that wait for the next flush."""
        return len(self._pending)

    def append(self, line: bytes) -> None:
        """Takes a line, with its end; it is on disk after the next flush."""
        self._pending.append(line)

    def flush(self) -> None:
        """Writes what was appended, closes a segment that is full or old, deletes the oldest.

        Raises:
            OSError: the disk is full or cannot be written; `pending` lines wait for the next flush.
        """
        before = self.written
        self._write_pending()
        segment = self._open
        if segment is not None and (
            segment.size_bytes >= self._segment_max_bytes
            or self._clock_s() - segment.started_at_s >= self._segment_max_age_s
        ):
            self._open = None
            segment.finish()
        if self.written > before:
            self._delete_oldest()

    def close(self) -> None:
        """Writes what was appended and closes the segment.

        Raises:
            OSError: as for `flush`.
        """
        self._write_pending()
        segment, self._open = self._open, None
        if segment is not None:
            segment.finish()

    def _write_pending(self) -> None:
        if not self._pending:
            return
        if self._open is not None and self._open.is_deleted():
            self._open.abandon()
            self._open = None
        if self._open is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._open = _OpenSegment(self._folder, self._clock_s())
        try:
            self._open.write(b"".join(self._pending))
        except OSError:
            # What the compressor remembers of it is not in the file: nothing can follow.
            self._open.abandon()
            self._open = None
            raise
        self.written += len(self._pending)
        self._pending.clear()

    def _delete_oldest(self) -> None:
        segments = segments_in(self._folder)
        total = sum(segment.size_bytes for segment in segments)
        for segment in segments:
            if total <= self._max_bytes:
                break
            if self._open is None or segment.path != self._open.path:
                segment.path.unlink(missing_ok=True)
                total -= segment.size_bytes


class _OpenSegment:
    """A segment that is being written, readable by its owner alone."""

    def __init__(self, folder: Path, now_s: float) -> None:
        self.started_at_s = now_s
        name = f"{int(now_s * 1000):013d}-{secrets.token_hex(4)}.jsonl.gz"
        self.path = folder / name
        self.size_bytes = 0
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, GZIP_WBITS)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)

    def is_deleted(self) -> bool:
        """Whether somebody deleted the file."""
        return os.fstat(self._descriptor).st_nlink == 0

    def write(self, lines: bytes) -> None:
        """Compresses and writes so that everything until here can be read."""
        compress = self._compressor
        self._write(compress.compress(lines) + compress.flush(zlib.Z_SYNC_FLUSH))

    def finish(self) -> None:
        """Ends the stream and closes the file."""
        try:
            self._write(self._compressor.flush())
        finally:
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Closes the file with what was written whole; one that holds nothing is deleted."""
        try:
            os.ftruncate(self._descriptor, self.size_bytes)
        finally:
            os.close(self._descriptor)
        if not self.size_bytes:
            self.path.unlink(missing_ok=True)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.size_bytes += len(block)

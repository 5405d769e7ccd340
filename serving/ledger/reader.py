"""Looks things up in a ledger's folder while others write to it."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from serving.errors import InvalidRequest, NotFound, StoreUnavailable
from serving.ledger.contents import (
    Damage,
    Line,
    SegmentBytes,
    Unfinished,
    entries_of_trace,
    lines,
    read_seal,
    read_segment,
    read_start,
    seal_of,
)
from serving.ledger.entry import TRACE_BYTES, Entry
from serving.ledger.files import SegmentFile, segment_files
from serving.ledger.marks import Loss, digest_of

# Later than any entry.
_FOREVER_MS = 2**63

Read = TypeVar("Read")


class State(StrEnum):
    """How a segment stands."""

    WRITTEN = "being written"
    CLOSED = "closed"
    # Its writer was killed.
    LEFT = "left open"


@dataclass(frozen=True, kw_only=True)
class SegmentReport:
    """What a look at every record of a segment found."""

    segment: str
    state: State
    size_bytes: int
    entries: int
    # Unix times of the earliest and the latest entry; 0 without any.
    first_at_ms: int
    last_at_ms: int
    losses: tuple[Loss, ...]
    damages: tuple[Damage, ...]
    # Entries that were there when the segment was closed, and are not readable now.
    missing: int
    # At the end of a segment that was left open; see `Unfinished`.
    unfinished_bytes: int

    @property
    def sound(self) -> bool:
        """Whether everything that was written is there."""
        return not self.damages and not self.missing


class LedgerReader:
    """Reads the segments of a folder. Blocking: not for an event loop's thread."""

    def __init__(self, folder: Path) -> None:
        """Opens nothing yet."""
        self._folder = folder

    def find(self, trace_id: str) -> list[Entry | Damage]:
        """The answered calls of a trace, the earliest first, then those that are damaged.

        Nearly always one: a caller may make several calls in one trace, e.g. when it retries.

        Raises:
            InvalidRequest: it is no trace id.
            NotFound: there is no ledger.
            StoreUnavailable: the folder cannot be read.
        """
        trace = _trace(trace_id)
        found: list[Entry | Damage] = []
        for file in self._files():
            read = _if_there(read_segment, file.path)
            if read is not None:
                found.extend(entries_of_trace(read.data, file.path.name, trace))
        return sorted(found, key=lambda one: one.at_ms if isinstance(one, Entry) else _FOREVER_MS)

    def read(self, since_ms: int = 0, until_ms: int = _FOREVER_MS) -> Iterator[Line]:
        """Everything that was written in a span of time, in the order of time.

        What is damaged is told wherever it is met: it may be of any time.

        Args:
            since_ms: Unix time, included.
            until_ms: Unix time, not included.

        Raises:
            NotFound: there is no ledger.
            StoreUnavailable: the folder cannot be read.
        """
        runs = [_run(file, since_ms, until_ms) for file in self._files()]
        for _, line in heapq.merge(*runs, key=itemgetter(0)):
            if line is not None:
                yield line

    def verify(self) -> Iterator[SegmentReport]:
        """Reads every record of every segment, the oldest segment first.

        Raises:
            NotFound: there is no ledger.
            StoreUnavailable: the folder cannot be read.
        """
        for file in self._files():
            read = _if_there(read_segment, file.path)
            if read is not None:
                yield _report(file.path.name, read)

    def settings_text(self, digest: str) -> str | None:
        """The settings that entries name by a digest, as JSON; None if no segment has them.

        Raises:
            NotFound: there is no ledger.
            StoreUnavailable: the folder cannot be read.
        """
        for file in reversed(self._files()):
            start = _if_there(read_start, file.path)
            if start is not None and digest_of(start.settings_text) == digest:
                return start.settings_text
        return None

    def since_ms(self) -> int | None:
        """How far back the ledger reaches, as Unix time; None if it is empty.

        Raises:
            NotFound: there is no ledger.
            StoreUnavailable: the folder cannot be read.
        """
        files = self._files()
        return files[0].created_at_ms if files else None

    def _files(self) -> list[SegmentFile]:
        try:
            return segment_files(self._folder)
        except FileNotFoundError as error:
            raise NotFound(f"{self._folder}: there is no ledger") from error
        except OSError as error:
            raise StoreUnavailable(f"{self._folder}: {error}") from error


def _run(file: SegmentFile, since_ms: int, until_ms: int) -> Iterator[tuple[int, Line | None]]:
    """A segment's lines, each with its time; only a first, empty one until it is their turn."""
    at_ms = file.created_at_ms
    yield at_ms, None
    seal = _if_there(read_seal, file.path)
    if seal is not None and (seal.last_at_ms < since_ms or seal.first_at_ms >= until_ms):
        return
    read = _if_there(read_segment, file.path)
    if read is None:
        return
    for line in lines(read.data, file.path.name):
        match line:
            case Entry():
                at_ms = line.at_ms
                if not since_ms <= at_ms < until_ms:
                    continue
            case Loss():
                if line.last_at_ms < since_ms or line.first_at_ms >= until_ms:
                    continue
        yield at_ms, line


def _report(segment: str, read: SegmentBytes) -> SegmentReport:
    seal = seal_of(read.data)
    entries, first_at_ms, last_at_ms, unfinished_bytes = 0, 0, 0, 0
    losses, damages = [], []
    for line in lines(read.data, segment):
        match line:
            case Entry():
                first_at_ms = min(first_at_ms, line.at_ms) if entries else line.at_ms
                last_at_ms = max(last_at_ms, line.at_ms)
                entries += 1
            case Loss():
                losses.append(line)
            case Damage():
                damages.append(line)
            case Unfinished():
                unfinished_bytes = line.stop - line.start
    state = State.WRITTEN if read.being_written else State.CLOSED if seal else State.LEFT
    return SegmentReport(
        segment=segment,
        state=state,
        size_bytes=len(read.data),
        entries=entries,
        first_at_ms=first_at_ms,
        last_at_ms=last_at_ms,
        losses=tuple(losses),
        damages=tuple(damages),
        missing=max(0, seal.entries - entries) if seal else 0,
        unfinished_bytes=unfinished_bytes,
    )


def _trace(trace_id: str) -> bytes:
    try:
        trace = bytes.fromhex(trace_id)
    except ValueError as error:
        raise InvalidRequest("request", f"must be hex digits, got {trace_id!r}") from error
    if len(trace) != TRACE_BYTES or not any(trace):
        raise InvalidRequest(
            "request", f"must have {2 * TRACE_BYTES} hex digits, not all 0, got {trace_id!r}"
        )
    return trace


def _if_there(read: Callable[[Path], Read], path: Path) -> Read | None:
    """What `read` makes of a file; None if it was deleted meanwhile, as the oldest one.

    Raises:
        StoreUnavailable: the file cannot be read.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error}") from error

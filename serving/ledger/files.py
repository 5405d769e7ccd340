"""The segment files of a folder: names, locks, and what is deleted.

The writer of a segment holds a lock on its file, which ends with the process however it ends.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.ledger.record import used_bytes

SUFFIX = ".ledger"
# Milliseconds of Unix time, process id, and a number for those of the same process and time.
_NAME = re.compile(rf"(\d{{13,}})-\d+-\d+{re.escape(SUFFIX)}")
_MODE = 0o640
# Numbers that are tried for a new file.
_TRIES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFile:
    """A segment in its folder; its name says when it was made and by which process."""

    path: Path
    created_at_ms: int


def segment_files(folder: Path) -> list[SegmentFile]:
    """All segments in a folder, the oldest first.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in folder.iterdir():
        name = _NAME.fullmatch(path.name)
        if name is not None:
            found.append(SegmentFile(path=path, created_at_ms=int(name.group(1))))
    return sorted(found, key=lambda file: (file.created_at_ms, file.path.name))


def new_file(folder: Path, at_ms: int) -> tuple[Path, int]:
    """Makes an empty segment file that nobody else writes to or deletes.

    Args:
        folder: where.
        at_ms: Unix time now.

    Returns:
        Its path and its descriptor, locked.

    Raises:
        OSError: none can be made.
    """
    for number in range(_TRIES):
        path = folder / f"{at_ms:013d}-{os.getpid()}-{number}{SUFFIX}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            continue
        try:
            if _locked(descriptor) and os.fstat(descriptor).st_nlink:
                return path, descriptor
        except OSError:
            os.close(descriptor)
            raise
        # Somebody else looked at it at this very moment, or deleted it.
        os.close(descriptor)
        path.unlink(missing_ok=True)
    raise FileExistsError(errno.EEXIST, "no name is free for a new segment", str(folder))


def is_being_written(path: Path) -> bool:
    """Whether a process holds the segment open for writing.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def delete_oldest(folder: Path, max_bytes: int) -> None:
    """Deletes segments, the oldest first, until all have at most `max_bytes` together.

    Those that are being written stay.

    Raises:
        OSError: a file cannot be deleted.
    """
    sizes = [(file.path, _size_bytes(file.path)) for file in segment_files(folder)]
    total_bytes = sum(size_bytes for _, size_bytes in sizes)
    for path, size_bytes in sizes:
        if total_bytes <= max_bytes:
            return
        with _unless_written(path) as descriptor:
            if descriptor is not None:
                path.unlink(missing_ok=True)
                total_bytes -= size_bytes


def trim_leftovers(folder: Path) -> None:
    """Gives back what killed processes had allocated beforehand and not used.

    Raises:
        OSError: a file cannot be read or cut.
    """
    for file in segment_files(folder):
        with _unless_written(file.path) as descriptor:
            if descriptor is None:
                continue
            size_bytes = os.fstat(descriptor).st_size
            # No record ends with a zero.
            if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\0":
                continue
            used = used_bytes(file.path.read_bytes())
            if used:
                os.ftruncate(descriptor, used)
            else:
                file.path.unlink(missing_ok=True)


@contextmanager
def _unless_written(path: Path) -> Iterator[int | None]:
    """A locked descriptor; None if a process writes the segment, or it is gone meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if _locked(descriptor) else None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        # Deleted meanwhile by another writer.
        return 0

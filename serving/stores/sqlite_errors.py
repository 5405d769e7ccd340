"""Which of SQLite's errors mean that the store cannot be used now; one table for all of them.

What is not in the table is a defect of ours (a wrong statement, a broken constraint) and is passed
on as it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import StartupError, StoreUnavailable

# Primary result code (the lower 8 bits) to the reason that a reader of the message can act on.
_REASONS: dict[int, str] = {
    sqlite3.SQLITE_BUSY: "another process holds its lock",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock",
    sqlite3.SQLITE_PROTOCOL: "another process holds its lock",
    sqlite3.SQLITE_FULL: "no space is left on the disk",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_PERM: "it may not be accessed",
    sqlite3.SQLITE_AUTH: "it may not be accessed",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed",
    sqlite3.SQLITE_NOMEM: "no memory is left",
    sqlite3.SQLITE_CORRUPT: "its content is damaged",
    sqlite3.SQLITE_NOTADB: "it is not a database",
}
_WAITED_FOR = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def reason_of(error: sqlite3.Error) -> str | None:
    """Why the store cannot be used, with SQLite's own code; None for a defect."""
    # The attribute is missing on errors that the Python module raises by itself.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF not in _REASONS:
        return None
    return f"{_REASONS[code & 0xFF]} ({error.sqlite_errorname})"


def is_locked(error: sqlite3.Error) -> bool:
    """Whether waiting may help."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _WAITED_FOR


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite says while serving into `StoreUnavailable`, naming file and reason."""
    try:
        yield
    except sqlite3.Error as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise StoreUnavailable(f"store {path.name}: {reason}") from error


@contextmanager
def opening_errors(path: Path) -> Iterator[None]:
    """Turns what goes wrong while opening into `StartupError`, naming the setting and the file."""
    try:
        yield
    except OSError as error:
        raise StartupError(f"stores.folder: {path}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        # Without a reason of the table it is mostly SQLite itself: too old, or built without FTS5.
        reason = reason_of(error) or f"{error} (with SQLite {sqlite3.sqlite_version})"
        raise StartupError(f"stores.folder: {path}: {reason}") from error

"""The SQLite file of the versions: its tables, connections and transactions.

What is only ever added (history, verdicts) is protected by the file itself: it refuses to change or
delete a row.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from serving.errors import StoreUnavailable

_BUSY_TIMEOUT_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS lineups (
    model TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    lineup TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS history (
    model TEXT NOT NULL,
    revision INTEGER NOT NULL,
    action TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    forced INTEGER NOT NULL,
    lineup TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (model, revision)
) STRICT;
CREATE TRIGGER IF NOT EXISTS history_is_kept BEFORE DELETE ON history
BEGIN SELECT RAISE(ABORT, 'history is kept'); END;
CREATE TRIGGER IF NOT EXISTS history_stays BEFORE UPDATE ON history
BEGIN SELECT RAISE(ABORT, 'history is kept'); END;
CREATE TABLE IF NOT EXISTS rollouts (
    model TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    rollout TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS verdicts (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    verdict TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS verdicts_of_a_version ON verdicts (model, version);
CREATE TRIGGER IF NOT EXISTS verdicts_are_kept BEFORE DELETE ON verdicts
BEGIN SELECT RAISE(ABORT, 'verdicts are kept'); END;
CREATE TRIGGER IF NOT EXISTS verdicts_stay BEFORE UPDATE ON verdicts
BEGIN SELECT RAISE(ABORT, 'verdicts are kept'); END;
"""


def make_tables(path: Path) -> None:
    """Makes the file if it is missing, and the tables that it lacks.

    Raises:
        StoreUnavailable: it cannot be made or is something else.
    """
    with connected(path) as connection:
        connection.executescript(_SCHEMA)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of its own: steps are rare, and a lost process leaves nothing behind.

    What is committed is on disk (`synchronous = FULL`) before the call returns.

    Raises:
        StoreUnavailable: the file cannot be used; also for what goes wrong within.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        with closing(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path}: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; nobody else writes between reading and writing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read within is of one moment, whatever others write meanwhile; holds up nobody."""
    connection.execute("BEGIN DEFERRED")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")

"""The counts of all processes, in one SQLite file beside the line-ups'.

Each process writes its own every half a second while a version is tried, so that the counts of one
that is killed are there but for the last moment.
"""

import asyncio
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from serving.errors import StoreUnavailable
from serving.rollout.counts import Counts

logger = logging.getLogger(__name__)

FILE_NAME = "counts.sqlite"
PERIOD_S = 0.5
_BUSY_TIMEOUT_S = 5.0
# Of experiments that nobody asks about any more.
_KEPT_MS = 7 * 24 * 3600 * 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    model TEXT NOT NULL,
    salt TEXT NOT NULL,
    process TEXT NOT NULL,
    counts BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (model, salt, process)
) STRICT;
"""


class CountsFile:
    """One file; any number of processes. Blocking: not for an event loop's thread."""

    def __init__(self, path: Path) -> None:
        """Makes the file if it is missing.

        Raises:
            StoreUnavailable: it cannot be made or is something else.
        """
        self._path = path
        with self._connected() as connection:
            connection.execute(_SCHEMA)

    def put(self, process: str, counts: Mapping[tuple[str, str], bytes]) -> None:
        """Writes what one process has counted so far, in place of what it wrote before.

        Args:
            process: any name of its own.
            counts: by model and salt, as `Counts.to_json` makes them.

        Raises:
            StoreUnavailable: the file cannot be written; nothing was.
        """
        now_ms = time.time_ns() // 1_000_000
        rows = [(*key, process, one, now_ms) for key, one in counts.items()]
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("DELETE FROM counts WHERE at_ms < ?", (now_ms - _KEPT_MS,))
            connection.execute("COMMIT")

    def total(self, model: str, salt: str) -> Counts:
        """Of an experiment, over all processes.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT counts FROM counts WHERE model = ? AND salt = ?", (model, salt)
            ).fetchall()
        total = Counts()
        for (text,) in rows:
            try:
                total = total.plus(Counts.from_json(text))
            except ValueError as error:
                raise StoreUnavailable(f"{self._path}: counts of {model}: {error}") from error
        return total

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            with closing(connection):
                connection.execute("PRAGMA journal_mode = WAL")
                # A power cut may cost the last counts; nothing was promised of them.
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error


async def keep_writing(
    current: Callable[[], Mapping[tuple[str, str], bytes]],
    file: CountsFile,
    *,
    period_s: float = PERIOD_S,
) -> None:
    """Writes this process's counts until it is cancelled; touches nothing while there are none."""
    process = uuid.uuid4().hex
    while True:
        await asyncio.sleep(period_s)
        counts = current()
        if not counts:
            continue
        try:
            await asyncio.to_thread(file.put, process, counts)
        except StoreUnavailable as error:
            # Written with the next ones.
            logger.warning("counts of the versions that are tried: %s", error.message)

"""One SQLite file a shop, shared by several processes; where and how its statements run.

    short work ─▶ at once, on the event loop's thread, never waiting
                    └─ the file is locked ─▶ as long work
    long work ──▶ a thread for reading, a thread for writing

The file is in WAL mode: a reader waits for nobody, a writer only for another writer. A read by key
takes about 8 µs and a write of one row 25 µs. Handing either to a thread costs 60 to 100 µs of CPU
more, and beside a busy loop the thread waits for the interpreter's lock: mostly some milliseconds,
but seconds were seen, since a loop that polls often takes the lock back before the thread wakes.
So work that takes up to about 3 ms is done in place, and what could stall the loop there is kept
away from it: a locked file is waited for in a thread, and checkpoints, the only moments of `fsync`,
are the writing thread's.

Durability: `synchronous = NORMAL`. A commit has handed its pages to the operating system when it
returns, so it survives `kill -9` of any process. A loss of power or a crash of the kernel may take
the commits since the last checkpoint (some hundred writes); the file stays consistent.
"""

import asyncio
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from serving.errors import StartupError
from serving.stores import sqlite_schema
from serving.stores.sqlite_errors import is_locked, opening_errors, reason_of, store_errors

T = TypeVar("T")
# Work gets a connection, runs its statements and fetches every row that it asked for. It may be
# run a second time after a first one was rolled back.
Work = Callable[[sqlite3.Connection], T]

_logger = logging.getLogger(__name__)

# Opening waits so long: another replica may be importing the shop.
_OPEN_TIMEOUT_MS = 120_000.0
_OPEN_PAUSE_S = 0.01
# Work up to this long is done in place.
_SHORT_MS = 3.0
# Short writes of this process between two checkpoints; saving a session takes about three pages.
_WRITES_A_CHECKPOINT = 256
_LONG_LOG_PAGES = 2048
# What the log file is cut back to after a large import.
_LOG_LIMIT_BYTES = 16 * 2**20


class Pace:
    """How long one kind of reading takes, learnt from its last runs.

    For work whose length depends on how much the file holds: it is handed to the thread at first,
    and done in place once it has turned out to be short.
    """

    def __init__(self) -> None:
        self._expected_ms = math.inf

    @property
    def is_short(self) -> bool:
        """Whether the work may be done in place."""
        return self._expected_ms <= _SHORT_MS

    def timed(self, work: Work[T]) -> Work[T]:
        """The work, its CPU time (waiting is not the work's own) taken down."""

        def run(connection: sqlite3.Connection) -> T:
            started = time.thread_time()
            result = work(connection)
            taken_ms = (time.thread_time() - started) * 1000.0
            known = self._expected_ms if math.isfinite(self._expected_ms) else 0.0
            self._expected_ms = max(taken_ms, 0.9 * known)
            return result

        return run


class Database:
    """An open file; one a process is enough. Safe to use from several threads and event loops."""

    def __init__(self, path: Path, busy_timeout_ms: float) -> None:
        """Opens the file and makes or migrates its tables.

        Args:
            path: the file; it and its folder are made when they are missing.
            busy_timeout_ms: how long work waits, in a thread, for another process's write.

        Raises:
            StartupError: the folder or the file cannot be used; names the setting, file and reason.
        """
        self.path = path
        self._busy_timeout_ms = busy_timeout_ms
        with opening_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writing = _connect(path, _OPEN_TIMEOUT_MS)
            _prepare(self._writing, path)
            self._writing.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:.0f}")
            self._reading = _connect(path, busy_timeout_ms)
            self._quick = _connect(path, 0)
            self._quick.execute("PRAGMA wal_autocheckpoint = 0")
        self._quick_lock = threading.Lock()
        self._short_writes = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    async def read(self, work: Work[T]) -> T:
        """Runs one short reading statement.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with store_errors(self.path):
            try:
                return self._in_place(work)
            except _NotNow:
                pass
        return await self.read_long(work)

    async def read_paced(self, work: Work[T], pace: Pace) -> T:
        """Runs reading statements in place if their like has been short, else in the thread.

        All of them see the same state of the file.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        timed = pace.timed(work)
        if pace.is_short:
            with store_errors(self.path):
                try:
                    return self._in_place(
                        lambda connection: _transact(connection, timed, "DEFERRED")
                    )
                except _NotNow:
                    pass
        return await self.read_long(timed)

    async def write(self, work: Work[T]) -> T:
        """Runs short statements as one transaction; committed when it returns.

        Raises:
            StoreUnavailable: the file cannot be written; nothing was.
        """
        with store_errors(self.path):
            try:
                result = self._in_place(lambda connection: _transact(connection, work))
            except _NotNow:
                pass
            else:
                self._count_write()
                return result
        return await self.write_long(work)

    async def read_long(self, work: Work[T]) -> T:
        """Runs reading statements in a thread; all of them see the same state of the file.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._reader, self._guarded, self._reading, work, "DEFERRED"
        )

    async def write_long(self, work: Work[T]) -> T:
        """Runs statements as one transaction in a thread; committed when it returns.

        If the caller is cancelled meanwhile, the transaction is still made whole or not at all.

        Raises:
            StoreUnavailable: the file cannot be written, or stayed locked; nothing was written.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._guarded, self._writing, work, "IMMEDIATE"
        )

    def read_blocking(self, work: Work[T]) -> T:
        """Runs reading statements on a connection of its own, in the caller's thread.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with store_errors(self.path):
            connection = _connect(self.path, self._busy_timeout_ms)
            try:
                return _transact(connection, work, "DEFERRED")
            finally:
                connection.close()

    def write_blocking(self, work: Work[T], busy_timeout_ms: float) -> T:
        """Runs statements as one transaction on a connection of its own, in the caller's thread.

        Raises:
            StoreUnavailable: as for `write_long`.
        """
        with store_errors(self.path):
            connection = _connect(self.path, busy_timeout_ms)
            try:
                return _transact(connection, work)
            finally:
                connection.close()

    def close(self) -> None:
        """Ends what is under way and closes the file; nothing may be asked of it afterwards."""
        self._reader.shutdown()
        self._writer.shutdown()
        with self._quick_lock:
            for connection in (self._quick, self._reading, self._writing):
                connection.close()

    def _in_place(self, run: Work[T]) -> T:
        if not self._quick_lock.acquire(blocking=False):
            raise _NotNow
        try:
            return run(self._quick)
        except sqlite3.OperationalError as error:
            if is_locked(error):
                raise _NotNow from error
            raise
        finally:
            self._quick_lock.release()

    def _guarded(self, connection: sqlite3.Connection, work: Work[T], mode: str) -> T:
        with store_errors(self.path):
            return _transact(connection, work, mode)

    def _count_write(self) -> None:
        self._short_writes += 1
        if self._short_writes % _WRITES_A_CHECKPOINT == 0:
            self._writer.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        """Moves the log into the database, as far as no reader needs it; blocks nobody.

        Writers who never pause keep that from ever reaching the log's end, and so the log from
        beginning anew. Once it is long, they are made to wait for what little is left to move.
        """
        try:
            _, pages, _ = self._writing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _LONG_LOG_PAGES:
                self._writing.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.Error as error:
            # What was committed is safe in the log; the next checkpoint tries again.
            _logger.warning("store %s: checkpoint failed: %s", self.path, reason_of(error) or error)


class _NotNow(Exception):
    """The work cannot be done at once."""


def _connect(path: Path, busy_timeout_ms: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        # The first statement may meet a process that opens or closes the file at the same time.
        timeout=_OPEN_TIMEOUT_MS / 1000.0,
        # Transactions are begun and ended by `_transact` alone.
        isolation_level=None,
        # One connection is used by one thread at a time, not always by the same.
        check_same_thread=False,
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
    connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:.0f}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """WAL mode, tables, and one write to see that writing works."""
    give_up_s = time.monotonic() + _OPEN_TIMEOUT_MS / 1000.0
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself for another process that switches a new file to WAL.
            if not is_locked(error) or time.monotonic() > give_up_s:
                raise
            time.sleep(_OPEN_PAUSE_S)
    if mode != "wal":
        raise StartupError(
            f"stores.folder: {path}: its file system cannot hold a write-ahead log (it offers "
            f"{mode!r}); name a folder on a local disk"
        )

    def make(connection: sqlite3.Connection) -> None:
        sqlite_schema.migrate(connection, path)
        connection.execute("UPDATE counters SET value = value")

    _transact(connection, make)


def _transact(connection: sqlite3.Connection, work: Work[T], mode: str = "IMMEDIATE") -> T:
    connection.execute(f"BEGIN {mode}")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, a full disk among them, have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result

"""The SQLite file itself: several users at once, waiting, and everything that can be wrong."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.errors import SessionConflict, StartupError, StoreUnavailable
from serving.stores import sqlite_schema
from serving.stores.protocols import RatedRequest
from serving.stores.sqlite_database import Database, Pace
from serving.stores.sqlite_errors import opening_errors, store_errors
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.types import Article, Event, EventKind, Feedback


@contextmanager
def opened(path: Path, busy_timeout_ms: float = 5000) -> Iterator[Database]:
    database = Database(path, busy_timeout_ms)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a write."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def views(count: int, customer_id: str = "c") -> list[Event]:
    return [
        Event(
            event_id=f"{customer_id}-{i}",
            kind=EventKind.VIEW,
            product_id=f"p{i}",
            customer_id=customer_id,
            occurred_at_ms=i + 1,
        )
        for i in range(count)
    ]


# ---- several users ------------------------------------------------------------------------------


def test_turns_of_one_session_from_several_replicas_are_counted_one_by_one(
    tmp_path: Path,
) -> None:
    replicas, turns = 4, 25

    async def take_turns(sessions: SqliteSessions) -> int:
        conflicts = saved = 0
        while saved < turns:
            stored = await sessions.load("s")
            state, revision = (stored.state, stored.revision) if stored else ({"n": 0}, 0)
            try:
                await sessions.save("s", {"n": state["n"] + 1}, revision)
            except SessionConflict:
                conflicts += 1
            else:
                saved += 1
        return conflicts

    def replica(start: threading.Barrier) -> int:
        with opened(tmp_path / "shop.sqlite") as database:
            start.wait()
            return asyncio.run(take_turns(SqliteSessions(database)))

    start = threading.Barrier(replicas)
    with ThreadPoolExecutor(replicas) as threads:
        list(threads.map(replica, [start] * replicas))
    with opened(tmp_path / "shop.sqlite") as database:
        stored = asyncio.run(SqliteSessions(database).load("s"))
    assert stored is not None
    assert stored.revision == replicas * turns
    assert stored.state == {"n": replicas * turns}


def test_a_new_file_opened_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    count = 12
    start = threading.Barrier(count)

    def open_and_write(number: int) -> None:
        start.wait()
        with opened(tmp_path / "new" / "shop.sqlite") as database:
            asyncio.run(SqliteSessions(database).save(f"s{number}", {}, 0))

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(open_and_write, range(count)))
    with closing(sqlite3.connect(tmp_path / "new" / "shop.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (count,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_what_one_replica_changed_another_sees_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "shop.sqlite") as one, opened(tmp_path / "shop.sqlite") as other:
        here, there = SqliteKnowledge(one), SqliteKnowledge(other)
        before = await there.revision()
        article = Article(article_id="a", title="Gift wrapping", body="Costs two euros.")
        await here.upsert([article], [np.ones(384, np.float32)], "encoder/1")
        assert await there.revision() > before
        assert [i for i, _ in await there.search_words("gift", 5)] == ["a"]
        assert (await there.vectors("encoder/1")).article_ids == ("a",)
        await SqliteHistory(one).append(views(3))
        assert len(await SqliteHistory(other).recent(customer_id="c")) == 3


def test_one_open_file_serves_several_event_loops(tmp_path: Path) -> None:
    with opened(tmp_path / "shop.sqlite") as database:
        sessions, history = SqliteSessions(database), SqliteHistory(database)

        async def work(number: int) -> None:
            for turn in range(20):
                await sessions.save(f"s{number}", {"turn": turn}, turn)
                await history.append(views(turn + 1, customer_id=f"c{number}"))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: asyncio.run(work(number)), range(4)))
        for number in range(4):
            stored = asyncio.run(sessions.load(f"s{number}"))
            assert stored is not None
            assert stored.revision == 20
            recent = asyncio.run(history.recent(customer_id=f"c{number}", limit=100))
            assert len(recent) == 20


async def test_a_batch_beyond_one_statement_is_stored_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "shop.sqlite") as database:
        history = SqliteHistory(database)
        assert await history.append(views(12_000)) == 12_000
        assert await history.append(views(12_001)) == 1
        recent = await history.recent(customer_id="c", limit=2)
        assert [entry.product_id for entry in recent] == ["p11999", "p12000"]


async def test_the_log_does_not_grow_without_end_under_writes_without_a_pause(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path) as database:
        sessions = SqliteSessions(database)
        writes = 0
        # 4 kB a write: without a checkpoint the log would reach 40 MB.
        while writes < 10_000:
            await sessions.save("s", {"text": "x" * 500}, writes)
            writes += 1
        log_bytes = path.with_name("shop.sqlite-wal").stat().st_size
    assert log_bytes < 20_000_000


# ---- waiting ------------------------------------------------------------------------------------


async def test_reading_waits_for_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path) as database:
        sessions, knowledge = SqliteSessions(database), SqliteKnowledge(database)
        await sessions.save("s", {"turn": 1}, 0)
        with locked(path) as other:
            other.execute("UPDATE sessions SET state = 'null'")
            stored = await sessions.load("s")
            assert stored is not None
            assert stored.state == {"turn": 1}
            assert await knowledge.count() == 0


async def test_a_write_waits_for_another_process_while_the_loop_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path) as database:
        sessions = SqliteSessions(database)
        with locked(path) as other:
            saving = asyncio.create_task(sessions.save("s", {"turn": 1}, 0))
            # The loop turns and reads are answered while the write waits.
            for _ in range(50):
                await asyncio.sleep(0.001)
                assert await sessions.load("s") is None
            assert not saving.done()
            other.execute("COMMIT")
        assert await saving == 1
        assert await sessions.load("s") is not None


async def test_a_file_that_stays_locked_is_unavailable_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path, busy_timeout_ms=50) as database:
        sessions, history = SqliteSessions(database), SqliteHistory(database)
        with locked(path):
            with pytest.raises(
                StoreUnavailable, match=r"store shop\.sqlite: another process holds its lock"
            ):
                await sessions.save("s", {}, 0)
            with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
                await history.append(views(100))
        assert await sessions.load("s") is None
        assert await sessions.save("s", {}, 0) == 1
        assert await history.append(views(100)) == 100


async def test_work_of_unknown_length_is_done_in_place_once_it_was_short(tmp_path: Path) -> None:
    def where(connection: sqlite3.Connection) -> bool:
        connection.execute("SELECT 1").fetchall()
        return threading.current_thread() is threading.main_thread()

    def long(connection: sqlite3.Connection) -> bool:
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass
        return where(connection)

    with opened(tmp_path / "shop.sqlite") as database:
        pace = Pace()
        assert not await database.read_paced(where, pace)
        assert await database.read_paced(where, pace)
        # It has grown: known only afterwards, so this once the loop waits.
        assert await database.read_paced(long, pace)
        assert not await database.read_paced(long, pace)
        # One short run among long ones does not bring it back, many do.
        assert not await database.read_paced(where, pace)
        places = [await database.read_paced(where, pace) for _ in range(40)]
        assert not places[0]
        assert places[-1]


async def test_a_cancelled_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path / "shop.sqlite") as database:
        history = SqliteHistory(database)
        for attempt in range(10):
            customer_id = f"c{attempt}"
            task = asyncio.create_task(history.append(views(500, customer_id=customer_id)))
            for _ in range(attempt % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Stands behind the batch in the writing thread.
            await database.write_long(lambda connection: None)
            assert len(await history.recent(customer_id=customer_id, limit=1000)) in (0, 500)


async def test_an_error_in_the_middle_of_a_transaction_takes_it_back(tmp_path: Path) -> None:
    with opened(tmp_path / "shop.sqlite") as database:
        knowledge = SqliteKnowledge(database)
        first = Article(article_id="a", title="A", body="a")
        await knowledge.upsert([first], [np.ones(384, np.float32)], "encoder/1")
        before = await knowledge.revision()
        with pytest.raises(ValueError, match="have 3 numbers, those of encoder/1 so far have 384"):
            await knowledge.upsert(
                [Article(article_id="b", title="B", body="b")],
                [np.ones(3, np.float32)],
                "encoder/1",
            )
        assert await knowledge.count() == 1
        assert await knowledge.revision() == before


# ---- what can be wrong --------------------------------------------------------------------------


def test_a_folder_that_is_a_file_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StartupError, match=r"^stores\.folder: .*state.*shop\.sqlite: "):
        Database(tmp_path / "state" / "shop.sqlite", 100)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^stores\.folder: /proc/nowhere/shop\.sqlite: "):
        Database(Path("/proc/nowhere/shop.sqlite"), 100)


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").mkdir()
    with pytest.raises(StartupError, match="cannot be opened"):
        Database(tmp_path / "shop.sqlite", 100)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").write_bytes(b"This is no database. " * 1000)
    with pytest.raises(StartupError, match="it is not a database"):
        Database(tmp_path / "shop.sqlite", 100)


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StartupError, match="has schema 99, this version knows up to 2"):
        Database(path, 100)


def test_a_file_of_an_earlier_version_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.sqlite"
    with monkeypatch.context() as earlier:
        earlier.setattr(sqlite_schema, "_MIGRATIONS", sqlite_schema._MIGRATIONS[:1])
        earlier.setattr(sqlite_schema, "VERSION", 1)
        with opened(path) as database:
            asyncio.run(SqliteSessions(database).save("s", {"n": 1}, 0))
    rated = RatedRequest(
        feedback=Feedback(trace_id="ab" * 16, helpful=False),
        answered_at_ms=7,
        versions=(("understanding", 3, "live"),),
    )
    for _ in range(2):
        with opened(path) as database:
            stored = asyncio.run(SqliteSessions(database).load("s"))
            assert stored is not None
            assert stored.state == {"n": 1}
            assert asyncio.run(SqliteFeedback(database).record([rated])) == 1
            assert SqliteFeedback(database).counts("understanding", 7) == {(3, "live"): (1, 1)}


def _ratings(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM feedback").fetchone()
    return int(count)


async def test_much_feedback_is_written_whole_and_one_row_that_fails_takes_it_back(
    tmp_path: Path,
) -> None:
    versions = tuple((model, 1, "live") for model in ("a", "b", "c", "d", "e"))
    batch = [
        RatedRequest(
            feedback=Feedback(trace_id=f"{i:032x}", helpful=i % 4 > 0, occurred_at_ms=1),
            answered_at_ms=i,
            versions=versions,
        )
        for i in range(100)
    ]
    # Without a model: none that the ledger could have brought.
    broken = replace(batch[0], versions=((None, 1, "live"),))  # type: ignore[arg-type]
    with opened(tmp_path / "shop.sqlite") as database:
        feedback = SqliteFeedback(database)
        for part in ([batch[1], broken], [*batch[1:], broken]):
            with pytest.raises(sqlite3.IntegrityError):
                await feedback.record(part)
            assert database.read_blocking(_ratings) == 0
        assert await feedback.record(batch) == 100
        assert feedback.counts("e", 0) == {(1, "live"): (25, 100)}
        assert feedback.counts("e", 90) == {(1, "live"): (2, 10)}


def test_a_place_without_a_write_ahead_log_is_refused() -> None:
    with pytest.raises(StartupError, match="cannot hold a write-ahead log"):
        Database(Path(":memory:"), 100)


async def test_damage_is_reported_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with opened(path) as database:
        for i in range(50):
            await SqliteSessions(database).save(f"s{i}", {"text": "x" * 3000}, 0)
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sessions'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with opened(path) as database:
        sessions = SqliteSessions(database)
        with pytest.raises(StoreUnavailable, match=r"shop\.sqlite: its content is damaged"):
            await sessions.load("s7")
        with pytest.raises(StoreUnavailable, match="its content is damaged"):
            await sessions.save("s7", {}, 1)
        # The rest of the file still serves.
        assert await SqliteHistory(database).append(views(10)) == 10


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", "another process holds its lock"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT", "another process holds its lock"),
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", "no space is left on the disk"),
        (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", "it may not be written"),
        (sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE", "reading or writing the disk failed"),
        (sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", "its content is damaged"),
        (sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN", "it cannot be opened"),
    ],
)
def test_errors_of_the_disk_become_ours(code: int, name: str, reason: str) -> None:
    error = sqlite3.OperationalError("said by SQLite")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    with pytest.raises(StoreUnavailable) as serving, store_errors(Path("/x/shop.sqlite")):
        raise error
    assert serving.value.message == f"store shop.sqlite: {reason} ({name})"
    assert serving.value.__cause__ is error
    with pytest.raises(StartupError) as starting, opening_errors(Path("/x/shop.sqlite")):
        raise error
    assert starting.value.message == f"stores.folder: /x/shop.sqlite: {reason} ({name})"


@pytest.mark.parametrize(
    "statement", ["SELECT", "SELECT * FROM nowhere", "INSERT INTO t VALUES(1)"]
)
def test_a_wrong_statement_is_a_defect_and_stays_one(statement: str) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError),
        store_errors(Path("x")),
    ):
        connection.execute(statement)

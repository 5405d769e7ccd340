"""Sessions in SQLite: one row each, saved by compare and swap of its revision."""

import json
import sqlite3
import time
from typing import Any

from serving.errors import SessionConflict
from serving.stores.protocols import StoredSession
from serving.stores.sqlite_database import Database


class SqliteSessions:
    """Implements `serving.stores.protocols.SessionStore`. Sessions are kept for good."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, session_id: str) -> StoredSession | None:
        """See `SessionStore.load`."""

        def work(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            return connection.execute(
                "SELECT state, revision FROM sessions WHERE session_id = ?", (session_id,)
            ).fetchall()

        rows = await self._database.read(work)
        if not rows:
            return None
        state, revision = rows[0]
        return StoredSession(state=json.loads(state), revision=revision)

    async def save(self, session_id: str, state: dict[str, Any], expected_revision: int) -> int:
        """See `SessionStore.save`."""
        text = json.dumps(state, separators=(",", ":"))
        now_ms = time.time_ns() // 1_000_000

        def create(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "INSERT INTO sessions (session_id, state, revision, updated_at_ms) "
                "VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING",
                (session_id, text, now_ms),
            ).rowcount

        def replace(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE sessions SET state = ?, revision = revision + 1, updated_at_ms = ? "
                "WHERE session_id = ? AND revision = ?",
                (text, now_ms, session_id, expected_revision),
            ).rowcount

        if not await self._database.write(replace if expected_revision else create):
            raise SessionConflict(
                f"session {session_id}: another turn was saved after revision {expected_revision}"
            )
        return expected_revision + 1

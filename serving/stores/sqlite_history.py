"""Behaviour events in SQLite; all are kept, an index holds each subject's in time order."""

import sqlite3
import time
from collections.abc import Sequence

from serving.stores.protocols import HistoryEntry
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_sets import chunks, values_of
from serving.types import Event, EventKind

# A batch up to this size takes about a millisecond and is written in place.
_SHORT_EVENTS = 100

_RECENT_OF_CUSTOMER = """
    SELECT seq, product_id, kind, occurred_at_ms FROM events
    WHERE customer_id = :customer_id ORDER BY occurred_at_ms DESC, seq DESC LIMIT :limit"""
_RECENT_OF_SESSION = """
    SELECT seq, product_id, kind, occurred_at_ms FROM events
    WHERE session_id = :session_id ORDER BY occurred_at_ms DESC, seq DESC LIMIT :limit"""
# An event of both is in both halves; UNION leaves one.
_RECENT_OF_BOTH = f"""
    SELECT * FROM ({_RECENT_OF_CUSTOMER}) UNION SELECT * FROM ({_RECENT_OF_SESSION})
    ORDER BY occurred_at_ms DESC, seq DESC LIMIT :limit"""


class SqliteHistory:
    """Implements `serving.stores.protocols.HistoryStore`.

    Entries of the same millisecond are in the order of their arrival.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore.append`. An event without a time happened now."""
        if not events:
            return 0
        now_ms = time.time_ns() // 1_000_000

        def work(connection: sqlite3.Connection) -> int:
            return _append(connection, events, now_ms)

        if len(events) <= _SHORT_EVENTS:
            return await self._database.write(work)
        return await self._database.write_long(work)

    async def recent(
        self, *, customer_id: str = "", session_id: str = "", limit: int = 50
    ) -> list[HistoryEntry]:
        """See `HistoryStore.recent`."""
        if limit <= 0 or not (customer_id or session_id):
            return []
        if not session_id:
            statement = _RECENT_OF_CUSTOMER
        elif not customer_id:
            statement = _RECENT_OF_SESSION
        else:
            statement = _RECENT_OF_BOTH
        values = {"customer_id": customer_id, "session_id": session_id, "limit": limit}

        def work(connection: sqlite3.Connection) -> list[tuple[int, str, str, int]]:
            return connection.execute(statement, values).fetchall()

        return [
            HistoryEntry(product_id=product_id, kind=kind, occurred_at_ms=occurred_at_ms)
            for _, product_id, kind, occurred_at_ms in reversed(await self._database.read(work))
        ]

    async def customer_exists(self, customer_id: str) -> bool:
        """See `HistoryStore.customer_exists`."""

        def work(connection: sqlite3.Connection) -> bool:
            return bool(
                connection.execute(
                    "SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)
                ).fetchall()
            )

        return await self._database.read(work)


def _append(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int) -> int:
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    new = 0
    for part in chunks(events, 6):
        rows, parameters = values_of(
            [
                (
                    event.event_id,
                    event.customer_id or None,
                    event.session_id or None,
                    event.kind.value,
                    event.product_id,
                    event.occurred_at_ms or now_ms,
                )
                for event in part
            ]
        )
        new += connection.execute(
            "INSERT INTO events"
            " (event_id, customer_id, session_id, kind, product_id, occurred_at_ms)"
            f" {rows} ON CONFLICT DO NOTHING",
            parameters,
        ).rowcount
    count_new_events(connection, last)
    return new


def count_new_events(connection: sqlite3.Connection, last: int) -> None:
    """Brings customers and popularity up to the events after the one with `seq` = `last`."""
    connection.execute(
        "INSERT INTO customers (customer_id)"
        " SELECT customer_id FROM events WHERE seq > ? AND customer_id IS NOT NULL"
        " ON CONFLICT DO NOTHING",
        (last,),
    )
    connection.execute(
        "INSERT INTO popularity (product_id, purchases)"
        " SELECT product_id, count(*) FROM events WHERE seq > ? AND kind = ?"
        " GROUP BY product_id"
        " ON CONFLICT DO UPDATE SET purchases = purchases + excluded.purchases",
        (last, EventKind.PURCHASE.value),
    )

"""Feedback in SQLite: one rating a request, and the versions that answered it."""

import sqlite3
import time
from collections.abc import Sequence

from serving.stores.protocols import RatedRequest
from serving.stores.sqlite_database import Database

# So many rows take about two milliseconds and are written in place.
_SHORT_ROWS = 200

_RATE = """
    INSERT INTO feedback (trace_id, helpful, comment, occurred_at_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (trace_id) DO UPDATE SET
        helpful = excluded.helpful,
        comment = excluded.comment,
        occurred_at_ms = excluded.occurred_at_ms
    WHERE excluded.occurred_at_ms >= feedback.occurred_at_ms"""
# What is known stays: the ledger may have forgotten the request when it is rated again.
_ATTRIBUTE = """
    INSERT INTO feedback_versions (trace_id, model, version, arm, answered_at_ms)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_COUNT = """
    SELECT version, arm, sum(NOT helpful), count(*)
    FROM feedback_versions JOIN feedback USING (trace_id)
    WHERE model = ? AND answered_at_ms >= ? GROUP BY version, arm"""


class SqliteFeedback:
    """Implements `serving.stores.protocols.FeedbackStore`. Feedback is kept for good."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rated: Sequence[RatedRequest]) -> int:
        """See `FeedbackStore.record`."""
        if not rated:
            return 0
        now_ms = time.time_ns() // 1_000_000
        ratings = [
            (one.trace_id, one.helpful, one.comment, one.occurred_at_ms or now_ms)
            for one in (request.feedback for request in rated)
        ]
        versions = [
            (request.feedback.trace_id, *version, request.answered_at_ms)
            for request in rated
            for version in request.versions
        ]

        def work(connection: sqlite3.Connection) -> int:
            recorded = connection.executemany(_RATE, ratings).rowcount
            connection.executemany(_ATTRIBUTE, versions)
            return recorded

        if len(ratings) + len(versions) <= _SHORT_ROWS:
            return await self._database.write(work)
        return await self._database.write_long(work)

    def counts(self, model: str, since_ms: int) -> dict[tuple[int, str], tuple[int, int]]:
        """See `FeedbackStore.counts`."""

        def work(connection: sqlite3.Connection) -> list[tuple[int, str, int, int]]:
            return connection.execute(_COUNT, (model, since_ms)).fetchall()

        return {
            (version, arm): (not_helpful, rated)
            for version, arm, not_helpful, rated in self._database.read_blocking(work)
        }

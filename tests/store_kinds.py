"""Every implementation of the stores' protocols: the real ones and those in memory."""

import sqlite3
from dataclasses import dataclass

from hypothesis import strategies as st

from serving.stores.protocols import (
    FeedbackStore,
    HistoryStore,
    KnowledgeStore,
    SessionStore,
    ShopStore,
)
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.stores.sqlite_shop import SqliteShop
from tests.fakes.stores import (
    MemoryFeedback,
    MemoryHistory,
    MemoryKnowledge,
    MemorySessions,
    MemoryShop,
)

# Whatever customers may type.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_TABLES = (
    *("sessions", "events", "customers", "popularity", "feedback", "feedback_versions"),
    *("articles", "article_vectors"),
)
_BUSY_TIMEOUT_MS = 2000


@dataclass(frozen=True, kw_only=True)
class Stores:
    sessions: SessionStore
    history: HistoryStore
    feedback: FeedbackStore
    knowledge: KnowledgeStore
    shop: ShopStore


def memory_stores() -> Stores:
    history = MemoryHistory()
    return Stores(
        sessions=MemorySessions(),
        history=history,
        feedback=MemoryFeedback(),
        knowledge=MemoryKnowledge(),
        shop=MemoryShop(history=history),
    )


def sqlite_stores(database: Database) -> Stores:
    """Those of one database, emptied."""
    database.write_blocking(_empty, busy_timeout_ms=_BUSY_TIMEOUT_MS)
    return Stores(
        sessions=SqliteSessions(database),
        history=SqliteHistory(database),
        feedback=SqliteFeedback(database),
        knowledge=SqliteKnowledge(database),
        shop=SqliteShop(database),
    )


def _empty(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table}")

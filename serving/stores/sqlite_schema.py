"""The tables of a shop's database, and how an older file is brought up to them."""

import sqlite3
from pathlib import Path

from serving.errors import StartupError

# Entry i brings a file of version i to version i + 1 (`PRAGMA user_version`). Never changed once
# released, only added to.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE sessions (
            session_id TEXT PRIMARY KEY,
            state TEXT NOT NULL,
            revision INTEGER NOT NULL,
            updated_at_ms INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # Behaviour. What an import brought has no event_id; a later import replaces just that.
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY,
            event_id TEXT,
            customer_id TEXT,
            session_id TEXT,
            kind TEXT NOT NULL,
            product_id TEXT NOT NULL,
            occurred_at_ms INTEGER NOT NULL
        )""",
        "CREATE UNIQUE INDEX events_by_id ON events (event_id) WHERE event_id IS NOT NULL",
        # Both hold all that a history shows, so that reading one touches the index alone.
        """CREATE INDEX events_by_customer
            ON events (customer_id, occurred_at_ms, seq, product_id, kind)
            WHERE customer_id IS NOT NULL""",
        """CREATE INDEX events_by_session
            ON events (session_id, occurred_at_ms, seq, product_id, kind)
            WHERE session_id IS NOT NULL""",
        "CREATE TABLE customers (customer_id TEXT PRIMARY KEY) WITHOUT ROWID",
        # Purchases by product over all events, kept up to date by every writer of events.
        """CREATE TABLE popularity (
            product_id TEXT PRIMARY KEY,
            purchases INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE products (
            product_id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            category TEXT NOT NULL,
            price_cents INTEGER NOT NULL,
            currency TEXT NOT NULL,
            brand TEXT NOT NULL,
            colours TEXT NOT NULL,
            sizes TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE orders (
            order_number TEXT PRIMARY KEY,
            customer_id TEXT NOT NULL,
            status TEXT NOT NULL,
            placed_on TEXT NOT NULL,
            expected_on TEXT NOT NULL,
            product_ids TEXT NOT NULL,
            total_cents INTEGER NOT NULL,
            currency TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE articles (
            rowid INTEGER PRIMARY KEY,
            article_id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            topic TEXT NOT NULL,
            updated_at_ms INTEGER NOT NULL
        )""",
        # Word search over the articles; holds the index alone, the text stays in `articles`.
        """CREATE VIRTUAL TABLE article_words USING fts5 (
            title, body, topic,
            content = 'articles', content_rowid = 'rowid',
            tokenize = 'porter unicode61 remove_diacritics 2'
        )""",
        """CREATE TRIGGER article_inserted AFTER INSERT ON articles BEGIN
            INSERT INTO article_words (rowid, title, body, topic)
                VALUES (new.rowid, new.title, new.body, new.topic);
        END""",
        """CREATE TRIGGER article_deleted AFTER DELETE ON articles BEGIN
            INSERT INTO article_words (article_words, rowid, title, body, topic)
                VALUES ('delete', old.rowid, old.title, old.body, old.topic);
            DELETE FROM article_vectors WHERE article_rowid = old.rowid;
        END""",
        # A vector speaks for the text it was made of.
        """CREATE TRIGGER article_updated AFTER UPDATE ON articles BEGIN
            INSERT INTO article_words (article_words, rowid, title, body, topic)
                VALUES ('delete', old.rowid, old.title, old.body, old.topic);
            INSERT INTO article_words (rowid, title, body, topic)
                VALUES (new.rowid, new.title, new.body, new.topic);
            DELETE FROM article_vectors WHERE article_rowid = old.rowid;
        END""",
        """CREATE TABLE article_vectors (
            encoder TEXT NOT NULL,
            article_rowid INTEGER NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (encoder, article_rowid)
        ) WITHOUT ROWID""",
        # Digest of each article as the shop's last import had it, the deleted ones included.
        """CREATE TABLE shop_articles (
            article_id TEXT PRIMARY KEY,
            digest TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        """INSERT INTO counters (name, value)
            VALUES ('knowledge_revision', 0), ('knowledge_changed_at_ms', 0)""",
        # At most one row: the shop that was imported last.
        """CREATE TABLE imported_shop (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            name TEXT NOT NULL,
            digest TEXT NOT NULL,
            imported_at_ms INTEGER NOT NULL
        )""",
    ),
    (
        """CREATE TABLE feedback (
            trace_id TEXT PRIMARY KEY,
            helpful INTEGER NOT NULL,
            comment TEXT NOT NULL,
            occurred_at_ms INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # The versions that answered the request that a feedback is about, as far as known.
        """CREATE TABLE feedback_versions (
            trace_id TEXT NOT NULL,
            model TEXT NOT NULL,
            version INTEGER NOT NULL,
            arm TEXT NOT NULL,
            answered_at_ms INTEGER NOT NULL,
            PRIMARY KEY (trace_id, model, version, arm)
        ) WITHOUT ROWID""",
        # With the primary key, which every index of such a table holds, all that is counted by.
        """CREATE INDEX feedback_versions_by_time
            ON feedback_versions (model, answered_at_ms)""",
    ),
)
VERSION = len(_MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Creates the tables or brings older ones up to date; runs inside the caller's transaction.

    Raises:
        StartupError: the file was written by a later version.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StartupError(
            f"stores.folder: {path}: has schema {found}, this version knows up to {VERSION}"
        )
    for statements in _MIGRATIONS[found:]:
        for statement in statements:
            connection.execute(statement)
    if found < VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")

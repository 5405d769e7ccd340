"""Writing articles and their vectors; inside the transaction of the caller.

Used by the knowledge store and by the import of a shop.
"""

import sqlite3
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.stores.sqlite_sets import chunks, list_of, values_of
from serving.types import Article

Floats = NDArray[np.float32]

_FLOAT_BYTES = 4


def mark_changed(connection: sqlite3.Connection) -> int:
    """Gives the knowledge base its next revision.

    Returns the time of the change in Unix milliseconds: later than any change before it, also when
    the clock was set back, so that it tells one text of an article from every other.
    """
    connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'knowledge_revision'")
    connection.execute(
        "UPDATE counters SET value = max(value + 1, ?) WHERE name = 'knowledge_changed_at_ms'",
        (time.time_ns() // 1_000_000,),
    )
    (changed_at_ms,) = connection.execute(
        "SELECT value FROM counters WHERE name = 'knowledge_changed_at_ms'"
    ).fetchone()
    return int(changed_at_ms)


def known_articles(connection: sqlite3.Connection, article_ids: Sequence[str]) -> list[str]:
    """Those of the ids that the knowledge base has."""
    known: list[str] = []
    for part in chunks(article_ids, 1):
        rows = connection.execute(
            f"SELECT article_id FROM articles WHERE article_id IN {list_of(len(part))}", part
        ).fetchall()
        known += [article_id for (article_id,) in rows]
    return known


def put_articles(
    connection: sqlite3.Connection, articles: Sequence[Article], changed_at_ms: int
) -> None:
    """Inserts or replaces articles, no two with one id; vectors of the old text are dropped."""
    for part in chunks(articles, 5):
        rows, parameters = values_of(
            [(a.article_id, a.title, a.body, a.topic, changed_at_ms) for a in part]
        )
        connection.execute(
            f"INSERT INTO articles (article_id, title, body, topic, updated_at_ms) {rows}"
            " ON CONFLICT (article_id) DO UPDATE SET title = excluded.title,"
            "  body = excluded.body, topic = excluded.topic,"
            "  updated_at_ms = excluded.updated_at_ms",
            parameters,
        )


def delete_articles(connection: sqlite3.Connection, article_ids: Sequence[str]) -> None:
    """Deletes those of the articles that are there, with their vectors."""
    for part in chunks(article_ids, 1):
        connection.execute(f"DELETE FROM articles WHERE article_id IN {list_of(len(part))}", part)


def put_vectors(
    connection: sqlite3.Connection, vectors: Sequence[tuple[str, int, Floats]], encoder: str
) -> int:
    """Stores (article_id, updated_at_ms, vector) where the article is still of that time.

    Returns how many were stored.

    Raises:
        ValueError: not all vectors of the encoder would have one length.
    """
    if not vectors:
        return 0
    matrix = np.stack([vector for _, _, vector in vectors]).astype("<f4")
    (width,) = connection.execute(
        "SELECT (SELECT length(vector) FROM article_vectors WHERE encoder = ? LIMIT 1)", (encoder,)
    ).fetchone()
    width_bytes = _FLOAT_BYTES * matrix.shape[1]
    if width not in (None, width_bytes):
        raise ValueError(
            f"vectors: have {matrix.shape[1]} numbers, those of {encoder} so far have "
            f"{width // _FLOAT_BYTES}"
        )
    stored = 0
    first = 0
    for part in chunks(vectors, 3):
        rows, parameters = values_of(
            [
                (article_id, changed_at_ms, 1 + position * width_bytes)
                for position, (article_id, changed_at_ms, _) in enumerate(part)
            ]
        )
        numbers = matrix[first : first + len(part)].tobytes()
        first += len(part)
        stored += connection.execute(
            # sqlite3 counts rows only for statements that begin with INSERT.
            "INSERT INTO article_vectors (encoder, article_rowid, vector)"
            f" WITH given (article_id, changed_at_ms, offset) AS ({rows})"
            "  SELECT ?, articles.rowid, substr(?, given.offset, ?)"
            "  FROM given JOIN articles ON articles.article_id = given.article_id"
            "   AND articles.updated_at_ms = given.changed_at_ms"
            "  WHERE true ON CONFLICT DO UPDATE SET vector = excluded.vector",
            [*parameters, encoder, numbers, width_bytes],
        ).rowcount
    return stored

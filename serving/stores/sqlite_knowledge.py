"""The knowledge base in SQLite: articles, word search by FTS5's BM25, vectors by encoder."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.stores.protocols import ArticleVectors
from serving.stores.sqlite_articles import (
    delete_articles,
    known_articles,
    mark_changed,
    put_articles,
    put_vectors,
)
from serving.stores.sqlite_database import Database, Pace, Work
from serving.stores.sqlite_sets import list_of
from serving.stores.word_query import word_query
from serving.types import Article

T = TypeVar("T")
Floats = NDArray[np.float32]

# Width of the matrix while no article has a vector.
_EMPTY_WIDTH = 384
# What is read or written in place: each takes about a millisecond.
_SHORT_GET = 64
_SHORT_PUT = 20
_SHORT_PUT_CHARS = 20_000
# Weights of title, body and topic in BM25.
_WEIGHTS = "2.0, 1.0, 1.0"


class SqliteKnowledge:
    """Implements `serving.stores.protocols.KnowledgeStore`.

    An article's `updated_at_ms` is set here, see `sqlite_articles.mark_changed`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # By method.
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)

    async def upsert(
        self, articles: Sequence[Article], vectors: Sequence[Floats | None], encoder: str
    ) -> tuple[int, int]:
        """See `KnowledgeStore.upsert`. Of two articles with one id the later one counts.

        Raises:
            ValueError: not one vector (or None) an article, or vectors of different lengths.
        """
        if len(articles) != len(vectors):
            raise ValueError(f"vectors: {len(vectors)} for {len(articles)} articles")
        latest = {a.article_id: (a, v) for a, v in zip(articles, vectors, strict=True)}

        def work(connection: sqlite3.Connection) -> int:
            changed_at_ms = mark_changed(connection)
            known = known_articles(connection, list(latest))
            put_articles(connection, [article for article, _ in latest.values()], changed_at_ms)
            put_vectors(
                connection,
                [(i, changed_at_ms, v) for i, (_, v) in latest.items() if v is not None],
                encoder,
            )
            return len(latest) - len(known)

        if not latest:
            return 0, 0
        chars = sum(len(article.title) + len(article.body) for article in articles)
        short = len(articles) <= _SHORT_PUT and chars <= _SHORT_PUT_CHARS
        created = await self._write(work, short)
        return created, len(articles) - created

    async def delete(self, article_ids: Sequence[str]) -> list[str]:
        """See `KnowledgeStore.delete`."""
        wanted = list(dict.fromkeys(article_ids))

        def work(connection: sqlite3.Connection) -> set[str]:
            found = known_articles(connection, wanted)
            if found:
                mark_changed(connection)
                delete_articles(connection, found)
            return set(found)

        found = await self._write(work, len(wanted) <= _SHORT_PUT)
        return [article_id for article_id in wanted if article_id not in found]

    async def get(self, article_ids: Sequence[str]) -> dict[str, Article]:
        """See `KnowledgeStore.get`."""

        def work(connection: sqlite3.Connection) -> list[Article]:
            return _articles(
                connection,
                f"WHERE article_id IN {list_of(len(article_ids))}",
                article_ids,
            )

        short = len(article_ids) <= _SHORT_GET
        read = self._database.read if short else self._database.read_long
        return {article.article_id: article for article in await read(work)}

    async def page(self, after_id: str, limit: int) -> list[Article]:
        """See `KnowledgeStore.page`."""

        def work(connection: sqlite3.Connection) -> list[Article]:
            return _articles(
                connection,
                "WHERE article_id > ? ORDER BY article_id LIMIT ?",
                (after_id, max(limit, 0)),
            )

        return await self._database.read_paced(work, self._paces["page"])

    async def count(self) -> int:
        """See `KnowledgeStore.count`."""

        def work(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT count(*) FROM articles").fetchone()[0])

        return await self._database.read_paced(work, self._paces["count"])

    async def search_words(self, query: str, limit: int) -> list[tuple[str, float]]:
        """See `KnowledgeStore.search_words`. Finds nothing for a query of stop words alone."""
        match = word_query(query)
        if not match or limit <= 0:
            return []

        def work(connection: sqlite3.Connection) -> list[tuple[str, float]]:
            return connection.execute(
                f"SELECT a.article_id, -bm25(article_words, {_WEIGHTS}) AS score"
                " FROM article_words JOIN articles a ON a.rowid = article_words.rowid"
                " WHERE article_words MATCH ? ORDER BY score DESC, a.article_id LIMIT ?",
                (match, limit),
            ).fetchall()

        return await self._database.read_paced(work, self._paces["search_words"])

    async def revision(self) -> int:
        """See `KnowledgeStore.revision`."""
        return await self._database.read(_revision)

    async def vectors(self, encoder: str) -> ArticleVectors:
        """See `KnowledgeStore.vectors`."""

        def work(connection: sqlite3.Connection) -> tuple[list[tuple[str, bytes]], int]:
            # Both of one moment: the work is one transaction.
            rows = connection.execute(
                "SELECT a.article_id, v.vector FROM article_vectors v"
                " JOIN articles a ON a.rowid = v.article_rowid"
                " WHERE v.encoder = ? ORDER BY a.article_id",
                (encoder,),
            ).fetchall()
            return rows, _revision(connection)

        rows, revision = await self._database.read_paced(work, self._paces["vectors"])
        numbers = np.frombuffer(b"".join(vector for _, vector in rows), "<f4")
        width = len(numbers) // len(rows) if rows else _EMPTY_WIDTH
        return ArticleVectors(
            article_ids=tuple(article_id for article_id, _ in rows),
            matrix=numbers.reshape(len(rows), width),
            revision=revision,
        )

    async def without_vector(self, encoder: str, limit: int) -> list[Article]:
        """See `KnowledgeStore.without_vector`."""

        def work(connection: sqlite3.Connection) -> list[Article]:
            return _articles(
                connection,
                "WHERE rowid NOT IN"
                " (SELECT article_rowid FROM article_vectors WHERE encoder = ?)"
                " ORDER BY article_id LIMIT ?",
                (encoder, max(limit, 0)),
            )

        return await self._database.read_paced(work, self._paces["without_vector"])

    async def set_vectors(self, vectors: Sequence[tuple[str, int, Floats]], encoder: str) -> None:
        """See `KnowledgeStore.set_vectors`.

        Raises:
            ValueError: vectors of different lengths.
        """

        def work(connection: sqlite3.Connection) -> None:
            if put_vectors(connection, vectors, encoder):
                mark_changed(connection)

        if vectors:
            await self._write(work, len(vectors) <= _SHORT_PUT)

    async def _write(self, work: Work[T], short: bool) -> T:
        write = self._database.write if short else self._database.write_long
        return await write(work)


def _articles(
    connection: sqlite3.Connection, condition: str, parameters: Sequence[str | int]
) -> list[Article]:
    return [
        Article(article_id=i, title=title, body=body, topic=topic, updated_at_ms=updated_at_ms)
        for i, title, body, topic, updated_at_ms in connection.execute(
            f"SELECT article_id, title, body, topic, updated_at_ms FROM articles {condition}",
            parameters,
        ).fetchall()
    ]


def _revision(connection: sqlite3.Connection) -> int:
    return int(
        connection.execute(
            "SELECT value FROM counters WHERE name = 'knowledge_revision'"
        ).fetchone()[0]
    )

"""What the stack remembers, as protocols: SQLite on one machine, another backend for several.

Every write is durable when its coroutine returns: it survives `kill -9` of any process.
All methods raise `StoreUnavailable` when the backend cannot read or write (disk full, locked).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.types import Article, Event, Feedback, Order, Product


@dataclass(frozen=True, kw_only=True)
class StoredSession:
    """A session's state as JSON-compatible data, and the revision to save it against."""

    state: dict[str, Any]
    revision: int


class SessionStore(Protocol):
    """Dialogue state by session."""

    async def load(self, session_id: str) -> StoredSession | None:
        """The session, or None if it is new."""
        ...

    async def save(self, session_id: str, state: dict[str, Any], expected_revision: int) -> int:
        """Saves if nobody else saved meanwhile; `expected_revision` is 0 for a new session.

        Returns the new revision. Raises `SessionConflict` if the revision has moved on.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One product in a customer's history, oldest first in every list."""

    product_id: str
    kind: str
    occurred_at_ms: int


class HistoryStore(Protocol):
    """Behaviour events. A subject is a customer id or, for visitors, a session id."""

    async def append(self, events: Sequence[Event]) -> int:
        """Stores all events or none; those whose `event_id` is known are left out.

        Returns how many were new.
        """
        ...

    async def recent(
        self, *, customer_id: str = "", session_id: str = "", limit: int = 50
    ) -> list[HistoryEntry]:
        """The last `limit` entries of the customer and of the session together, oldest first."""
        ...

    async def customer_exists(self, customer_id: str) -> bool:
        """Whether the shop knows the customer (imported, or seen in an event)."""
        ...


@dataclass(frozen=True, kw_only=True)
class RatedRequest:
    """Feedback with what is known of the request that it is about."""

    feedback: Feedback
    # Unix time; 0 for an unknown request.
    answered_at_ms: int = 0
    # (model, version, arm) of every version that had a part in the answer.
    versions: tuple[tuple[str, int, str], ...] = ()


class FeedbackStore(Protocol):
    """What customers think of replies: one rating a request, the newest."""

    async def record(self, rated: Sequence[RatedRequest]) -> int:
        """Stores all or nothing; feedback without a time was given now.

        A rating that is older than the stored one of its request changes nothing; of two with the
        same time the later one counts. Versions that are known of a request stay known.
        Returns how many were stored.
        """
        ...

    def counts(self, model: str, since_ms: int) -> Mapping[tuple[int, str], tuple[int, int]]:
        """By (version, arm) of a model: ratings that say "not helpful", and all of them.

        Of requests that were answered at `since_ms` (Unix time) or later. Blocking: not for an
        event loop's thread.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ArticleVectors:
    """Meaning vectors of the articles that have one: row i belongs to `article_ids[i]`."""

    article_ids: tuple[str, ...]
    # float32 [n, 384], rows of unit length.
    matrix: NDArray[np.float32]
    revision: int


class KnowledgeStore(Protocol):
    """The knowledge base, with word search and room for meaning vectors."""

    async def upsert(
        self,
        articles: Sequence[Article],
        vectors: Sequence[NDArray[np.float32] | None],
        encoder: str,
    ) -> tuple[int, int]:
        """Stores articles with their vectors (None: word search only for now).

        `encoder` names model and version of the vectors, e.g. "encoder/3".
        Returns (created, updated).
        """
        ...

    async def delete(self, article_ids: Sequence[str]) -> list[str]:
        """Deletes; returns the ids that were not there."""
        ...

    async def get(self, article_ids: Sequence[str]) -> dict[str, Article]:
        """The articles that exist, by id."""
        ...

    async def page(self, after_id: str, limit: int) -> list[Article]:
        """Up to `limit` articles in id order, after `after_id` ("" for the beginning)."""
        ...

    async def count(self) -> int:
        """Number of articles."""
        ...

    async def search_words(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Best articles by BM25 as (article_id, score), score > 0 and higher is better.

        Any text is a valid query; none of it is read as query syntax.
        """
        ...

    async def revision(self) -> int:
        """Changes whenever any process changed an article or a vector."""
        ...

    async def vectors(self, encoder: str) -> ArticleVectors:
        """All vectors made by `encoder`."""
        ...

    async def without_vector(self, encoder: str, limit: int) -> list[Article]:
        """Articles that have no vector by `encoder` yet."""
        ...

    async def set_vectors(
        self, vectors: Sequence[tuple[str, int, NDArray[np.float32]]], encoder: str
    ) -> None:
        """Stores (article_id, updated_at_ms, vector); skips articles that changed since."""
        ...


class ShopStore(Protocol):
    """Catalogue and orders."""

    async def products(self) -> list[Product]:
        """The whole catalogue in id order."""
        ...

    async def popularity(self) -> dict[str, int]:
        """Purchases by product id over all histories."""
        ...

    async def order(self, order_number: str) -> Order | None:
        """An order by its number."""
        ...

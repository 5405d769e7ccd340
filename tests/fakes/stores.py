"""The stores in memory, with the behaviour that `serving.stores.protocols` asks for."""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import SessionConflict
from serving.stores.protocols import ArticleVectors, HistoryEntry, RatedRequest, StoredSession
from serving.types import Article, Event, EventKind, Feedback, Order, Product
from serving.words import content_words, words_of


@dataclass
class MemorySessions:
    """Implements `SessionStore`."""

    sessions: dict[str, StoredSession] = field(default_factory=dict)

    async def load(self, session_id: str) -> StoredSession | None:
        return self.sessions.get(session_id)

    async def save(self, session_id: str, state: dict[str, Any], expected_revision: int) -> int:
        known = self.sessions.get(session_id)
        if (known.revision if known else 0) != expected_revision:
            raise SessionConflict(
                f"session {session_id}: another turn was saved after revision {expected_revision}"
            )
        # As a file would: the caller's later changes are not the store's.
        stored = json.loads(json.dumps(state))
        revision = expected_revision + 1
        self.sessions[session_id] = StoredSession(state=stored, revision=revision)
        return revision


@dataclass
class MemoryHistory:
    """Implements `HistoryStore`."""

    events: list[Event] = field(default_factory=list)
    customers: set[str] = field(default_factory=set)

    async def append(self, events: Sequence[Event]) -> int:
        known = {event.event_id for event in self.events}
        new = 0
        for event in events:
            if event.event_id in known:
                continue
            known.add(event.event_id)
            new += 1
            when_ms = event.occurred_at_ms or time.time_ns() // 1_000_000
            self.events.append(replace(event, occurred_at_ms=when_ms))
            if event.customer_id:
                self.customers.add(event.customer_id)
        return new

    async def recent(
        self, *, customer_id: str = "", session_id: str = "", limit: int = 50
    ) -> list[HistoryEntry]:
        found = [
            HistoryEntry(
                product_id=event.product_id,
                kind=event.kind.value,
                occurred_at_ms=event.occurred_at_ms,
            )
            for event in sorted(self.events, key=lambda event: event.occurred_at_ms)
            if (customer_id and event.customer_id == customer_id)
            or (session_id and event.session_id == session_id)
        ]
        return found[max(len(found) - limit, 0) :] if limit > 0 else []

    async def customer_exists(self, customer_id: str) -> bool:
        return customer_id in self.customers


@dataclass
class MemoryFeedback:
    """Implements `FeedbackStore`."""

    ratings: dict[str, Feedback] = field(default_factory=dict)
    # (trace id, model, version, arm) -> when the request was answered.
    versions: dict[tuple[str, str, int, str], int] = field(default_factory=dict)

    async def record(self, rated: Sequence[RatedRequest]) -> int:
        recorded = 0
        for request in rated:
            one = request.feedback
            when_ms = one.occurred_at_ms or time.time_ns() // 1_000_000
            known = self.ratings.get(one.trace_id)
            if known is None or when_ms >= known.occurred_at_ms:
                self.ratings[one.trace_id] = replace(one, occurred_at_ms=when_ms)
                recorded += 1
            for version in request.versions:
                self.versions.setdefault((one.trace_id, *version), request.answered_at_ms)
        return recorded

    def counts(self, model: str, since_ms: int) -> dict[tuple[int, str], tuple[int, int]]:
        counted: dict[tuple[int, str], tuple[int, int]] = {}
        for (trace_id, its_model, version, arm), at_ms in self.versions.items():
            if its_model == model and at_ms >= since_ms:
                bad, rated = counted.get((version, arm), (0, 0))
                bad += not self.ratings[trace_id].helpful
                counted[version, arm] = (bad, rated + 1)
        return counted


@dataclass
class MemoryKnowledge:
    """Implements `KnowledgeStore`; its word search adds up inverse document frequencies."""

    articles: dict[str, Article] = field(default_factory=dict)
    # Vectors by encoder, then by article.
    of_encoder: dict[str, dict[str, NDArray[np.float32]]] = field(default_factory=dict)
    changes: int = 0
    changed_at_ms: int = 0

    async def upsert(
        self,
        articles: Sequence[Article],
        vectors: Sequence[NDArray[np.float32] | None],
        encoder: str,
    ) -> tuple[int, int]:
        if len(articles) != len(vectors):
            raise ValueError(f"vectors: {len(vectors)} for {len(articles)} articles")
        if not articles:
            return 0, 0
        self._change()
        created = 0
        for article, vector in zip(articles, vectors, strict=True):
            created += article.article_id not in self.articles
            self._forget_vectors(article.article_id)
            self.articles[article.article_id] = replace(article, updated_at_ms=self.changed_at_ms)
            if vector is not None:
                self.of_encoder.setdefault(encoder, {})[article.article_id] = vector
        return created, len(articles) - created

    async def delete(self, article_ids: Sequence[str]) -> list[str]:
        wanted = list(dict.fromkeys(article_ids))
        missing = [article_id for article_id in wanted if article_id not in self.articles]
        if len(missing) < len(wanted):
            self._change()
        for article_id in wanted:
            self.articles.pop(article_id, None)
            self._forget_vectors(article_id)
        return missing

    async def get(self, article_ids: Sequence[str]) -> dict[str, Article]:
        return {i: self.articles[i] for i in article_ids if i in self.articles}

    async def page(self, after_id: str, limit: int) -> list[Article]:
        return [self.articles[i] for i in sorted(self.articles) if i > after_id][: max(limit, 0)]

    async def count(self) -> int:
        return len(self.articles)

    async def search_words(self, query: str, limit: int) -> list[tuple[str, float]]:
        texts = {i: f"{a.title} {a.body} {a.topic}" for i, a in self.articles.items()}
        having = {i: words_of(text) for i, text in texts.items()}
        frequency = Counter(word for words in having.values() for word in words)
        scores: dict[str, float] = {}
        for word in content_words(query):
            weight = math.log(1 + len(texts) / (frequency[word] + 0.5))
            for article_id, words in having.items():
                if word in words:
                    scores[article_id] = scores.get(article_id, 0.0) + weight
        best = sorted(scores.items(), key=lambda found: (-found[1], found[0]))
        return best[: max(limit, 0)]

    async def revision(self) -> int:
        return self.changes

    async def vectors(self, encoder: str) -> ArticleVectors:
        held = dict(sorted(self.of_encoder.get(encoder, {}).items()))
        matrix = np.stack([*held.values()]) if held else np.zeros((0, 384), np.float32)
        return ArticleVectors(article_ids=tuple(held), matrix=matrix, revision=self.changes)

    async def without_vector(self, encoder: str, limit: int) -> list[Article]:
        held = self.of_encoder.get(encoder, {})
        return [self.articles[i] for i in sorted(self.articles) if i not in held][: max(limit, 0)]

    async def set_vectors(
        self, vectors: Sequence[tuple[str, int, NDArray[np.float32]]], encoder: str
    ) -> None:
        for article_id, updated_at_ms, vector in vectors:
            article = self.articles.get(article_id)
            if article is not None and article.updated_at_ms == updated_at_ms:
                self.of_encoder.setdefault(encoder, {})[article_id] = vector
                self._change()

    def _change(self) -> None:
        self.changes += 1
        self.changed_at_ms = max(self.changed_at_ms + 1, time.time_ns() // 1_000_000)

    def _forget_vectors(self, article_id: str) -> None:
        for held in self.of_encoder.values():
            held.pop(article_id, None)


@dataclass
class MemoryShop:
    """Implements `ShopStore`; popularity is counted over a history, if one is given."""

    catalogue: Sequence[Product] = ()
    orders: Sequence[Order] = ()
    history: MemoryHistory | None = None

    async def products(self) -> list[Product]:
        return sorted(self.catalogue, key=lambda product: product.product_id)

    async def popularity(self) -> dict[str, int]:
        events = self.history.events if self.history else []
        return dict(Counter(e.product_id for e in events if e.kind is EventKind.PURCHASE))

    async def order(self, order_number: str) -> Order | None:
        return next((o for o in self.orders if o.order_number == order_number), None)

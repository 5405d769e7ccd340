"""The knowledge base: articles ─▶ encode ─▶ store; searchable at once, by words at the least."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.context import RequestContext, observe_step
from serving.deadline import Deadline
from serving.pipelines.attempt import attempt
from serving.steps.encode import MODEL as ENCODER
from serving.steps.encode import Embeddings, EncodeInput, article_text, encoder_name
from serving.steps.placement import Step
from serving.stores.protocols import KnowledgeStore
from serving.types import Article

# Articles that one call of `embed_missing` looks after, and the time that it may take.
EMBEDDED_AT_ONCE = 64
EMBEDDING_MS = 30_000.0


@dataclass(frozen=True, kw_only=True)
class Upserted:
    """What became of a batch of articles."""

    created: int
    updated: int


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """What became of a batch of ids."""

    deleted: int
    # In the order of the request.
    missing_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ArticlePage:
    """Articles in the order of their ids."""

    articles: tuple[Article, ...]
    # Id to go on after; "" on the last page.
    next_page_token: str
    # Articles in the whole knowledge base.
    total: int


class KnowledgePipeline:
    """Changes and lists the knowledge base."""

    def __init__(
        self,
        knowledge: KnowledgeStore,
        encode: Step[EncodeInput, Embeddings],
        encoders: Callable[[], Sequence[int]],
    ) -> None:
        """`encoders` tells which versions of the encoder may be asked to find an article."""
        self._knowledge = knowledge
        self._encode = encode
        self._encoders = encoders

    async def upsert(self, articles: Sequence[Article], context: RequestContext) -> Upserted:
        """Stores articles; durable once this returns.

        Without the encoder they are found by their words only, until `embed_missing` has run.

        Raises:
            DeadlineExceeded: no time is left at all; nothing was stored.
            StoreUnavailable: the articles cannot be written.
        """
        vectors: list[NDArray[np.float32] | None] = [None] * len(articles)
        encoder = ""
        if articles:
            embeddings = await attempt(
                context,
                "encode",
                self._encode,
                _texts(articles),
                fallback="word search only, until the encoder is back",
            )
            if embeddings is not None:
                vectors = list(embeddings.vectors)
                encoder = embeddings.encoder
        with observe_step(context, "store_articles"):
            created, updated = await self._knowledge.upsert(articles, vectors, encoder)
        return Upserted(created=created, updated=updated)

    async def delete(self, article_ids: Sequence[str], context: RequestContext) -> Deleted:
        """Deletes articles; durable once this returns. An id counts once, however often it stands.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        wanted = list(dict.fromkeys(article_ids))
        with observe_step(context, "delete_articles"):
            missing = await self._knowledge.delete(wanted)
        return Deleted(deleted=len(wanted) - len(missing), missing_ids=tuple(missing))

    async def list_articles(
        self, page_token: str, page_size: int, context: RequestContext
    ) -> ArticlePage:
        """One page of the articles; the token is the id after which it begins.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        with observe_step(context, "list_articles"):
            # One more than asked for says whether there is a next page.
            found = await self._knowledge.page(page_token, page_size + 1)
            total = await self._knowledge.count()
        articles = tuple(found[:page_size])
        return ArticlePage(
            articles=articles,
            next_page_token=articles[-1].article_id if len(found) > page_size else "",
            total=total,
        )

    async def embed_missing(self) -> int:
        """Encodes articles that an encoder has made no vector of yet; to be called regularly.

        Returns:
            How many it worked on; when it is not 0, there may be more.

        Raises:
            CartwrightError: an encoder or the store does not serve; the next call tries again.
        """
        worked_on = 0
        for version in self._encoders():
            encoder = encoder_name(version)
            articles = await self._knowledge.without_vector(encoder, EMBEDDED_AT_ONCE)
            if not articles:
                continue
            context = RequestContext(
                deadline=Deadline.after_ms(EMBEDDING_MS), pinned={ENCODER: version}
            )
            embeddings = await self._encode(_texts(articles), context)
            await self._knowledge.set_vectors(
                [
                    (article.article_id, article.updated_at_ms, vector)
                    for article, vector in zip(articles, embeddings.vectors, strict=True)
                ],
                embeddings.encoder,
            )
            worked_on += len(articles)
        return worked_on


def _texts(articles: Sequence[Article]) -> EncodeInput:
    return EncodeInput(texts=tuple(article_text(article) for article in articles))

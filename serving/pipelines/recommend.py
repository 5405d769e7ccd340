"""Recommend: past ─▶ generate candidates ─▶ filter ─▶ rank ─▶ diversify ─▶ explain, fill up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from serving.catalogue import Catalogue, CatalogueSnapshot, in_category
from serving.context import RequestContext, observe_step
from serving.errors import InvalidRequest
from serving.pipelines.attempt import attempt
from serving.pipelines.past import Past, load_past
from serving.steps.diversify import diversify
from serving.steps.explain import personal_reason, popular_reason
from serving.steps.generate_candidates import (
    Candidates,
    GenerateCandidatesInput,
    popular_candidates,
)
from serving.steps.outputs import sigmoid
from serving.steps.placement import Step
from serving.steps.rank import Ranking, RankInput
from serving.stores.protocols import HistoryStore
from serving.types import Candidate, Product

# Candidates asked of the model; what the filter and the ranker choose from.
CANDIDATES = 200


@dataclass(frozen=True, kw_only=True)
class RecommendInput:
    """What is asked for. An anonymous visitor has a session only."""

    customer_id: str = ""
    session_id: str = ""
    top_k: int
    # Path in the category tree; "" for the whole shop.
    category: str = ""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A request with its catalogue: which products may be shown."""

    snapshot: CatalogueSnapshot
    past: Past
    top_k: int
    category: str
    # In a customer's words, e.g. "blue mug"; "" when nothing was named.
    sought: str
    fits: Callable[[Product], bool]


class RecommendPipeline:
    """Recommends products for a customer or a visitor."""

    def __init__(
        self,
        generate_candidates: Step[GenerateCandidatesInput, Candidates],
        rank: Step[RankInput, Ranking],
        catalogue: Catalogue,
        histories: HistoryStore,
    ) -> None:
        self._generate_candidates = generate_candidates
        self._rank = rank
        self._catalogue = catalogue
        self._histories = histories

    async def __call__(
        self, request: RecommendInput, context: RequestContext
    ) -> tuple[Candidate, ...]:
        """Up to `top_k` products, best first; fewer only if the shop has no more that fit.

        Raises:
            InvalidRequest: the catalogue has no such category.
            DeadlineExceeded: no time is left at all.
            StoreUnavailable: the histories or the catalogue cannot be read.
        """
        with observe_step(context, "load_past"):
            past = await load_past(
                self._histories, customer_id=request.customer_id, session_id=request.session_id
            )
        return await self.with_past(request, past, context)

    async def with_past(
        self,
        request: RecommendInput,
        past: Past,
        context: RequestContext,
        *,
        product: str = "",
        details: tuple[str, ...] = (),
    ) -> tuple[Candidate, ...]:
        """The same for a past that is known already.

        Args:
            request: what is asked for.
            past: of the customer and session.
            context: the request's.
            product: what the customer is looking for, in their words; "" for anything.
            details: colour, size and the like, which fitting products should have.
        """
        if not past.customer_known:
            context.degrade(
                "history",
                f"customer {request.customer_id!r} is unknown",
                "the session's history" if past.entries else "popular items",
            )
        wanted = _wanted(await self._catalogue.current(), request, past, product, details)
        candidates = await attempt(
            context,
            "generate_candidates",
            self._generate_candidates,
            GenerateCandidatesInput(history=past.interests(), limit=CANDIDATES),
            fallback="popular items of the category",
            then=("rank",),
        )
        if candidates is None:
            candidates = _replacement(wanted)
        ranked = await self._ranked(wanted, candidates, context)
        head = tuple(
            replace(item, reason=_reason(wanted, item.product, personal=candidates.personal))
            for item in diversify(ranked, wanted.top_k)
        )
        return _filled_up(wanted, head)

    async def _ranked(
        self, wanted: _Wanted, candidates: Candidates, context: RequestContext
    ) -> Iterator[Candidate]:
        """The candidates that fit, ranked; still without their reasons. Made as they are wanted."""
        products = wanted.snapshot.products
        kept = [
            i
            for i, product_id in enumerate(candidates.product_ids)
            if product_id in products and wanted.fits(products[product_id])
        ]
        if not kept:
            return iter(())
        request = RankInput(
            history=wanted.past.interests(),
            candidates=tuple(candidates.product_ids[i] for i in kept),
            scores=candidates.scores[kept],
        )
        ranking = await attempt(
            context, "rank", self._rank, request, fallback="the candidates' order"
        )
        if ranking is None:
            ranking = _unranked(request)
        return (
            Candidate(product=products[product_id], score=probability)
            for product_id, probability in zip(
                ranking.product_ids, ranking.probabilities, strict=True
            )
        )


def _wanted(
    snapshot: CatalogueSnapshot,
    request: RecommendInput,
    past: Past,
    product: str,
    details: tuple[str, ...],
) -> _Wanted:
    category = request.category.strip("/")
    if category and not snapshot.has_category(category):
        raise InvalidRequest("category", f"the catalogue has no category {request.category!r}")
    matching = snapshot.matching(product, details) if product else None
    has_already = past.has_already()

    def fits(candidate: Product) -> bool:
        if matching is not None:
            # Asked for by name: shown even to those who have it.
            return candidate.product_id in matching and in_category(candidate, category)
        return candidate.product_id not in has_already and in_category(candidate, category)

    return _Wanted(
        snapshot=snapshot,
        past=past,
        top_k=request.top_k,
        category=category,
        sought=" ".join((*details, product)) if product else "",
        fits=fits,
    )


def _replacement(wanted: _Wanted) -> Candidates:
    """Popular products of the category: the one asked for, else the one looked at last."""
    category = wanted.category
    if not category:
        for product_id in reversed(wanted.past.interests()):
            if product_id in wanted.snapshot.products:
                category = wanted.snapshot.products[product_id].category
                break
    return popular_candidates(wanted.snapshot, CANDIDATES, category)


def _unranked(request: RankInput) -> Ranking:
    """The candidates in their own order; scores squeezed into [0, 1], 0.5 for the average."""
    spread = float(request.scores.std())
    centred = (request.scores - request.scores.mean()) / (spread if spread > 0 else 1.0)
    return Ranking(
        product_ids=request.candidates,
        probabilities=tuple(sigmoid(centred.astype(np.float32)).tolist()),
    )


def _filled_up(wanted: _Wanted, head: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Popular products that fit, below the head, until there are `top_k`."""
    missing = wanted.top_k - len(head)
    if missing <= 0:
        return head
    shown = {candidate.product.product_id for candidate in head}
    popularity = wanted.snapshot.popularity
    most = max(popularity.values(), default=0) or 1
    below = min((candidate.score for candidate in head), default=1.0)
    filling: list[Candidate] = []
    for product in wanted.snapshot.popular(wanted.category):
        if len(filling) == missing:
            break
        if product.product_id not in shown and wanted.fits(product):
            share = popularity.get(product.product_id, 0) / most
            reason = _reason(wanted, product, personal=False)
            filling.append(Candidate(product=product, score=below * share, reason=reason))
    return head + tuple(filling)


def _reason(wanted: _Wanted, product: Product, *, personal: bool) -> str:
    """The reason of one product."""
    if personal:
        reason = personal_reason(product, wanted.past.entries, wanted.snapshot.products)
        if reason:
            return reason
    if wanted.sought:
        return f'fits "{wanted.sought}"'
    return popular_reason(product, wanted.category)

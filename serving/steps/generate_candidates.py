"""A customer's history to the products that may come next."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from serving.catalogue import Catalogue, CatalogueSnapshot
from serving.context import RequestContext
from serving.errors import ModelContractViolated
from serving.models.client import ModelClient
from serving.steps.outputs import finite

MODEL = "candidates"
# Interactions that the model looks back on.
HISTORY_LENGTH = 50


@dataclass(frozen=True, kw_only=True)
class GenerateCandidatesInput:
    """What the step is asked."""

    # Product ids, oldest first; may be empty, and may name products that the model does not know.
    history: tuple[str, ...]
    limit: int


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Products by falling score. Scores compare within one list only."""

    product_ids: tuple[str, ...]
    # float32 [n]
    scores: NDArray[np.float32]
    # False: popular products, because nothing is known of the customer.
    personal: bool


def popular_candidates(snapshot: CatalogueSnapshot, limit: int, category: str = "") -> Candidates:
    """The best-selling products of a category and below it ("" for the whole shop)."""
    products = list(islice(snapshot.popular(category), limit))
    sold = [snapshot.popularity.get(product.product_id, 0) for product in products]
    return Candidates(
        product_ids=tuple(product.product_id for product in products),
        scores=np.log1p(np.array(sold, np.float32)),
        personal=False,
    )


class GenerateCandidates:
    """Runs the next-item model on a history."""

    def __init__(
        self, client: ModelClient, product_ids: tuple[str, ...], catalogue: Catalogue
    ) -> None:
        """Entry i of `product_ids` has the model's item index i + 1."""
        self._client = client
        self._product_ids = product_ids
        self._index_of = {product_id: i + 1 for i, product_id in enumerate(product_ids)}
        self._catalogue = catalogue

    async def __call__(
        self, request: GenerateCandidatesInput, context: RequestContext
    ) -> Candidates:
        """The products that the model expects next; popular ones if it knows nothing of the past.

        Raises:
            CartwrightError: as `ModelClient.infer`; `StoreUnavailable` if the catalogue cannot be
                read.
        """
        known = [self._index_of[p] for p in request.history if p in self._index_of]
        if not known:
            return popular_candidates(await self._catalogue.current(), request.limit)
        history = np.zeros((1, HISTORY_LENGTH), np.int64)
        recent = known[-HISTORY_LENGTH:]
        history[0, -len(recent) :] = recent
        output = await self._client.infer(MODEL, {"history": history}, context)
        scores = finite(MODEL, output, "scores", (1, None))[0]
        indexes = output.tensors.get("item_indexes")
        if indexes is None or indexes.shape != (1, len(scores)):
            raise ModelContractViolated(f"{MODEL}: item_indexes and scores differ in shape")
        items = indexes[0, : request.limit]
        if len(items) and not 1 <= items.min() <= items.max() <= len(self._product_ids):
            raise ModelContractViolated(
                f"{MODEL}: an item index lies outside of 1 to {len(self._product_ids)}"
            )
        return Candidates(
            product_ids=tuple(self._product_ids[i - 1] for i in items.tolist()),
            scores=scores[: request.limit],
            personal=True,
        )

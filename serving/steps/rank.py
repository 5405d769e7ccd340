"""Candidates in the order in which this customer is likeliest to want them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.catalogue import Catalogue
from serving.context import RequestContext
from serving.features import rank_features
from serving.models.client import ModelClient, Tensors
from serving.steps.outputs import finite, sigmoid

MODEL = "ranker"
# Rows in one model call: the model's largest batch.
MAX_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class RankInput:
    """What the step is asked."""

    # Product ids, oldest first.
    history: tuple[str, ...]
    # Product ids, best first by `scores`.
    candidates: tuple[str, ...]
    # float32 [len(candidates)]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Product ids by falling probability in [0, 1]; equal ones keep the candidates' order."""

    product_ids: tuple[str, ...]
    probabilities: tuple[float, ...]


class Rank:
    """Runs the ranker over a list of candidates."""

    def __init__(self, client: ModelClient, catalogue: Catalogue, version: int) -> None:
        """`version` is the ranker's whose vocabulary the catalogue has."""
        self._client = client
        self._catalogue = catalogue
        self._version = version

    async def __call__(self, request: RankInput, context: RequestContext) -> Ranking:
        """Ranks the candidates that the catalogue has; the others are left out.

        Raises:
            CartwrightError: as `ModelClient.infer`; `StoreUnavailable` if the catalogue cannot be
                read.
        """
        arrays = await self._catalogue.arrays(self._version)
        kept = [i for i, p in enumerate(request.candidates) if p in arrays.row_of]
        product_ids = [request.candidates[i] for i in kept]
        categorical, dense = rank_features(
            arrays,
            arrays.rows(request.history),
            arrays.rows(product_ids),
            request.scores[kept],
        )
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(kept), MAX_BATCH):
            rows = slice(start, start + MAX_BATCH)
            batch: Tensors = {"categorical": categorical[rows], "dense": dense[rows]}
            output = await self._client.infer(MODEL, batch, context)
            logits.append(finite(MODEL, output, "score", (len(dense[rows]), 1))[:, 0])
        probabilities = sigmoid(np.concatenate(logits)) if logits else np.zeros(0)
        order = np.argsort(-probabilities, kind="stable")
        return Ranking(
            product_ids=tuple([product_ids[i] for i in order.tolist()]),
            probabilities=tuple(probabilities[order].tolist()),
        )

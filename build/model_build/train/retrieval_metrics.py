"""How well a list of items foretells the next purchases; and simple ways to make such a list."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model_build.data.types import Interaction
from model_build.train.histories import NextPurchase, by_customer, purchase_counts

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
# Each step back in a history counts so much less for its neighbours.
_KNN_DECAY = 0.9


def hit_rate(ranked: Sequence[Ints], bought: Sequence[set[int]], k: int) -> float:
    """Share of customers who bought at least one of the first `k` items."""
    hits = [bool(set(row[:k].tolist()) & want) for row, want in zip(ranked, bought, strict=True)]
    return float(np.mean(hits))


def ndcg(ranked: Sequence[Ints], bought: Sequence[set[int]], k: int) -> float:
    """Mean normalised discounted cumulative gain at `k` with relevance 0 or 1."""
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    gains = [
        float(discounts[: len(row[:k])][[item in want for item in row[:k].tolist()]].sum())
        / float(discounts[: min(len(want), k)].sum())
        for row, want in zip(ranked, bought, strict=True)
    ]
    return float(np.mean(gains))


def retrieval_figures(ranked: Sequence[Ints], bought: Sequence[set[int]]) -> dict[str, float]:
    """Hit rate at 10 and 20 and NDCG at 10."""
    return {
        "hit_rate_10": hit_rate(ranked, bought, 10),
        "hit_rate_20": hit_rate(ranked, bought, 20),
        "ndcg_10": ndcg(ranked, bought, 10),
    }


def bought_items(purchases: Sequence[NextPurchase], index: Mapping[str, int]) -> list[set[int]]:
    """What each customer bought, as item indexes; products without an index count as missed."""
    return [{index.get(p, -1 - i) for i, p in enumerate(n.bought)} for n in purchases]


def most_popular(interactions: Iterable[Interaction], index: Mapping[str, int], count: int) -> Ints:
    """The most often bought items, int64 [count]; equal ones in order of their index."""
    counts = purchase_counts(interactions)
    known = sorted(index, key=lambda p: (-counts.get(p, 0), index[p]))
    return np.array([index[p] for p in known[:count]], np.int64)


class ItemKnn:
    """Items that the same customers touched (Sarwar et al., "Item-based Collaborative Filtering
    Recommendation Algorithms", WWW 2001), by the cosine of their columns.
    """

    def __init__(self, interactions: Iterable[Interaction], index: Mapping[str, int]) -> None:
        histories = by_customer(interactions)
        touched = np.zeros((len(histories), len(index) + 1), np.float32)
        for row, history in enumerate(histories.values()):
            touched[row, [index[i.product_id] for i in history if i.product_id in index]] = 1.0
        norms = np.maximum(np.sqrt(touched.sum(0)), 1e-6)
        self._similar = (touched.T @ touched) / norms[:, None] / norms[None, :]
        np.fill_diagonal(self._similar, 0.0)

    def rank(self, history: Ints, count: int) -> Ints:
        """The `count` nearest items of a left-padded history, best first."""
        items = history[history > 0]
        weights = _KNN_DECAY ** np.arange(len(items) - 1, -1, -1, dtype=np.float32)
        scores: Floats = weights @ self._similar[items]
        scores[0] = -np.inf
        return np.argsort(-scores, kind="stable")[:count].astype(np.int64)

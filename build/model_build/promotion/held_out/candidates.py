"""`candidates` on what customers bought after the part of their history that any model learnt from.

Measured as the training measures it: is anything of the next purchase among the first ten or twenty
items, and how far in front?
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_build.promotion.held_out.evaluation import Quality, Sample, served
from model_build.promotion.paired import Scores, compare
from model_build.train.histories import NextPurchase, encode_history, item_indexes
from model_build.train.retrieval_metrics import bought_items, hit_rate, ndcg
from serving.errors import StartupError
from serving.models.repository import PublishedVersion

MARGINS = {"hit_rate_10": 0.02, "hit_rate_20": 0.02, "ndcg_10": 0.01}
_BATCH = 32
_MOST_SAMPLES = 1024
_SHOWN_PRODUCTS = 3


class CandidatesEvaluation:
    """Customers with their history, and what they bought next."""

    def __init__(self, purchases: Sequence[NextPurchase]) -> None:
        self._purchases = purchases

    def samples(self, version: PublishedVersion) -> list[Sample]:
        """Histories in batches."""
        return list(_batches(version, self._purchases[:_MOST_SAMPLES]))

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """Hit rates and NDCG, paired by customer."""
        ours, theirs = self._figures(candidate), self._figures(live)
        lost = {
            name: [
                f"{described(purchase)}: {name} {ours[name][i]:.2f}; live: {theirs[name][i]:.2f}"
                for i, purchase in enumerate(self._purchases)
                if ours[name][i] < theirs[name][i]
            ]
            for name in MARGINS
        }
        return Quality(
            basis=f"{len(self._purchases)} customers",
            comparisons=tuple(
                compare(
                    name,
                    Scores.mean_of(ours[name]),
                    Scores.mean_of(theirs[name]),
                    margin=margin,
                )
                for name, margin in MARGINS.items()
            ),
            lost=lost,
        )

    def _figures(self, version: PublishedVersion) -> dict[str, NDArray[np.float64]]:
        """Each figure of each customer, float64 [n]."""
        run, bought = served(version), bought_items(self._purchases, _index(version))
        ranked = [
            row
            for sample in _batches(version, self._purchases)
            for row in run(sample.inputs)["item_indexes"]
        ]
        return retrieval_of_each(ranked, bought)


def retrieval_of_each(
    ranked: Sequence[NDArray[np.int64]], bought: Sequence[set[int]]
) -> dict[str, NDArray[np.float64]]:
    """Hit rate at 10 and 20 and NDCG at 10 of each list, float64 [n] by figure."""
    pairs = [([row], [wanted]) for row, wanted in zip(ranked, bought, strict=True)]
    return {
        "hit_rate_10": np.array([hit_rate(*pair, 10) for pair in pairs]),
        "hit_rate_20": np.array([hit_rate(*pair, 20) for pair in pairs]),
        "ndcg_10": np.array([ndcg(*pair, 10) for pair in pairs]),
    }


def described(purchase: NextPurchase) -> str:
    """Who bought what, in a few words."""
    shown, more = purchase.bought[:_SHOWN_PRODUCTS], len(purchase.bought) - _SHOWN_PRODUCTS
    bought = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return f"customer {purchase.customer_id} bought {bought}"


def _batches(version: PublishedVersion, purchases: Sequence[NextPurchase]) -> list[Sample]:
    index = _index(version)
    samples = []
    for start in range(0, len(purchases), _BATCH):
        batch = purchases[start : start + _BATCH]
        samples.append(
            Sample(
                inputs={"history": np.stack([encode_history(p.history, index) for p in batch])},
                names=tuple(f"customer {p.customer_id}" for p in batch),
            )
        )
    return samples


def _index(version: PublishedVersion) -> dict[str, int]:
    """The version's index of each product.

    Raises:
        StartupError: its list of products is none.
    """
    products = version.json_asset("products.json")
    if not isinstance(products, list):
        raise StartupError(f"{version.folder}/products.json: is not a list of product ids")
    return item_indexes(products)

"""`ranker` on the candidates of customers whose next purchase is known, measured as in training.

Both versions order the same lists, those of one candidates model.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from model_build.promotion.held_out.candidates import described, retrieval_of_each
from model_build.promotion.held_out.evaluation import Quality, Sample, names_in, served
from model_build.promotion.paired import Scores, compare
from model_build.train.histories import NextPurchase
from model_build.train.ranker import CandidateList, Retrieve, candidate_lists
from serving.features import CatalogueArrays
from serving.models.repository import PublishedVersion
from serving.types import Product

MARGINS = {"ndcg_10": 0.01, "hit_rate_10": 0.02}
_PARITY_LISTS = 8

Retrieved = list[tuple[list[str], NDArray[np.float32]]]


class RankerEvaluation:
    """Customers, the shop that they buy from, and what retrieves their candidates."""

    def __init__(
        self,
        products: Sequence[Product],
        popularity: Mapping[str, int],
        purchases: Sequence[NextPurchase],
        retrieve: Retrieve,
    ) -> None:
        self._products = products
        self._popularity = dict(popularity)
        self._purchases = purchases
        self._retrieve = retrieve

    def samples(self, version: PublishedVersion) -> list[Sample]:
        """A few customers' lists, each a batch."""
        return [
            Sample(
                inputs=_inputs(found),
                names=tuple(f"product {self._products[row].product_id}" for row in found.rows),
            )
            for _, found in self._lists(version)[:_PARITY_LISTS]
        ]

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """NDCG and hit rate at 10, paired by customer."""
        ours, theirs = self._figures(candidate), self._figures(live)
        judged = [purchase for purchase, _ in self._lists(live)]
        return Quality(
            basis=f"the candidates of {len(judged)} customers",
            comparisons=tuple(
                compare(
                    name,
                    Scores.mean_of(ours[name]),
                    Scores.mean_of(theirs[name]),
                    margin=margin,
                )
                for name, margin in MARGINS.items()
            ),
            lost={
                name: [
                    f"{described(judged[i])}: {name} {ours[name][i]:.2f}; "
                    f"live: {theirs[name][i]:.2f}"
                    for i in np.argsort(ours[name] - theirs[name], kind="stable")
                    if ours[name][i] < theirs[name][i]
                ]
                for name in MARGINS
            },
        )

    def _figures(self, version: PublishedVersion) -> dict[str, NDArray[np.float64]]:
        run = served(version)
        lists = [found for _, found in self._lists(version)]
        scores = [run(_inputs(found))["score"][:, 0] for found in lists]
        ranked = [
            found.rows[np.argsort(-score, kind="stable")]
            for found, score in zip(lists, scores, strict=True)
        ]
        return retrieval_of_each(ranked, [set(found.wanted) for found in lists])

    def _lists(self, version: PublishedVersion) -> list[tuple[NextPurchase, CandidateList]]:
        """Each customer's list with its features, by the vocabulary of the version.

        Customers who bought only what they had already are left out, as in training.
        """
        catalogue = CatalogueArrays.build(
            self._products,
            self._popularity,
            names_in(version, "vocabulary.json", "products"),
            names_in(version, "vocabulary.json", "categories"),
        )
        return [
            (purchase, found)
            for purchase, items in zip(self._purchases, self._retrieved, strict=True)
            for found in candidate_lists(catalogue, [purchase], partial(_given, [items]))
        ]

    @cached_property
    def _retrieved(self) -> Retrieved:
        return self._retrieve([p.history for p in self._purchases])


def _given(items: Retrieved, histories: Sequence[Sequence[str]]) -> Retrieved:
    return items


def _inputs(found: CandidateList) -> dict[str, NDArray[np.generic]]:
    return {"categorical": found.categorical, "dense": found.dense}

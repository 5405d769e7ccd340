"""Feature vectors of the ranker and the decision model, computed once for training and serving.

Both sides call these functions, so a feature cannot mean one thing offline and another online.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from serving.types import Product

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RANKER_CATEGORICAL = ("product", "category", "last_category")
RANKER_DENSE = (
    "retrieval_score",
    "retrieval_reciprocal_rank",
    "log_popularity",
    "log_price",
    "log_price_against_history",
    "category_share",
    "category_share_recent",
    "seen_before",
    "log_history_length",
)
# "Recent" in `category_share_recent`: the last so many interactions.
RECENT_INTERACTIONS = 5


def history_products(touched: Sequence[str]) -> list[str]:
    """A customer's products as the candidates model and the ranker read them.

    A view, a cart and a purchase of one product in a row are one interest: each run counts once.

    Args:
        touched: product id of each interaction, oldest first.
    """
    return [product for product, _ in groupby(touched)]


@dataclass(frozen=True, kw_only=True)
class CatalogueArrays:
    """The catalogue as columns; row i is `product_ids[i]`. Index 0 of a vocabulary is "unknown"."""

    product_ids: tuple[str, ...]
    row_of: dict[str, int]
    # int64 [n]: position in the ranker's vocabularies, 0 if it does not know the value.
    product_index: Ints
    category_index: Ints
    # float32 [n]
    log_price: Floats
    log_popularity: Floats

    @classmethod
    def build(
        cls,
        products: Sequence[Product],
        popularity: dict[str, int],
        product_vocabulary: Sequence[str],
        category_vocabulary: Sequence[str],
    ) -> "CatalogueArrays":
        """Columns for `products`; entry i of a vocabulary has index i + 1."""
        product_index = {p: i + 1 for i, p in enumerate(product_vocabulary)}
        category_index = {c: i + 1 for i, c in enumerate(category_vocabulary)}
        return cls(
            product_ids=tuple(p.product_id for p in products),
            row_of={p.product_id: row for row, p in enumerate(products)},
            product_index=np.array(
                [product_index.get(p.product_id, 0) for p in products], np.int64
            ),
            category_index=np.array(
                [category_index.get(p.category, 0) for p in products], np.int64
            ),
            log_price=np.array([math.log1p(max(p.price_cents, 0)) for p in products], np.float32),
            log_popularity=np.array(
                [math.log1p(popularity.get(p.product_id, 0)) for p in products], np.float32
            ),
        )

    def rows(self, product_ids: Sequence[str]) -> Ints:
        """Rows of the products that the catalogue has, in the given order."""
        return np.array([self.row_of[p] for p in product_ids if p in self.row_of], np.int64)


def rank_features(
    catalogue: CatalogueArrays, history_rows: Ints, candidate_rows: Ints, retrieval_scores: Floats
) -> tuple[Ints, Floats]:
    """Features of `c` candidates for one customer.

    Args:
        catalogue: the catalogue's columns.
        history_rows: int64 [h], rows of the customer's products, oldest first; may be empty.
        candidate_rows: int64 [c].
        retrieval_scores: float32 [c], the retrieval model's scores, best first.

    Returns:
        int64 [c, 3] in the order of `RANKER_CATEGORICAL` and float32 [c, 9] in the order of
        `RANKER_DENSE`.
    """
    count = len(candidate_rows)
    categories = catalogue.category_index[candidate_rows]
    history_categories = catalogue.category_index[history_rows]
    recent = history_categories[-RECENT_INTERACTIONS:]
    last_category = history_categories[-1] if len(history_categories) else 0
    spread = float(retrieval_scores.std()) if count > 1 else 0.0
    centred = retrieval_scores - retrieval_scores.mean() if count else retrieval_scores
    usual_log_price = (
        float(catalogue.log_price[history_rows].mean())
        if len(history_rows)
        else float(catalogue.log_price.mean())
    )
    log_price = catalogue.log_price[candidate_rows]
    categorical = np.stack(
        [
            catalogue.product_index[candidate_rows],
            categories,
            np.full(count, last_category, np.int64),
        ],
        axis=1,
    )
    dense = np.stack(
        [
            centred / spread if spread > 0 else np.zeros(count, np.float32),
            1.0 / np.arange(1, count + 1, dtype=np.float32),
            catalogue.log_popularity[candidate_rows] / 10.0,
            log_price / 10.0,
            log_price - usual_log_price,
            _shares(categories, history_categories),
            _shares(categories, recent),
            np.isin(candidate_rows, history_rows).astype(np.float32),
            np.full(count, math.log1p(len(history_rows)) / 4.0, np.float32),
        ],
        axis=1,
    )
    return categorical.astype(np.int64), dense.astype(np.float32)


def _shares(categories: Ints, among: Ints) -> Floats:
    """Share of each category among `among`, float32 [c]."""
    if not len(among):
        return np.zeros(len(categories), np.float32)
    counts = np.bincount(among, minlength=int(max(categories.max(initial=0), among.max())) + 1)
    return (counts[categories] / len(among)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class DecisionFeatures:
    """What the decision model sees of a turn, one number a field, in this order."""

    # Groups of `serving.dialogue.intents`: at most one is 1.
    group_order: float = 0.0
    group_account: float = 0.0
    group_payment: float = 0.0
    group_delivery: float = 0.0
    group_product: float = 0.0
    group_contact: float = 0.0
    group_smalltalk: float = 0.0
    intent_confidence: float = 0.0
    out_of_scope_probability: float = 0.0
    negative_probability: float = 0.0
    positive_probability: float = 0.0
    # Turns in a row that were not understood, this one included.
    failures_in_a_row: float = 0.0
    # 1 while a required slot is missing.
    slot_missing: float = 0.0
    # Customer asks for a person (contact_human_agent) in this turn.
    asks_for_human: float = 0.0
    best_passage_score: float = 0.0
    # 1 if the knowledge base knows the answer, or the order asked for was found.
    answer_known: float = 0.0
    # 1 if there are items to show.
    items_found: float = 0.0
    best_item_score: float = 0.0
    # Behaviour: of the last 50 events.
    log_views: float = 0.0
    log_carts: float = 0.0
    log_purchases: float = 0.0
    log_turns: float = 0.0

    def vector(self) -> Floats:
        """float32 [22] in the order of the fields."""
        return np.array([getattr(self, f.name) for f in fields(self)], np.float32)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Field names in the order of `vector`."""
        return tuple(f.name for f in fields(cls))

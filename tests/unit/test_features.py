import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.features import (
    RANKER_CATEGORICAL,
    RANKER_DENSE,
    CatalogueArrays,
    DecisionFeatures,
    history_products,
    rank_features,
)
from serving.types import Product

CATEGORIES = ("home/mugs", "home/pans", "garden/spades")
PRODUCTS = [
    Product(
        product_id=f"p{i}", title=f"Product {i}", category=CATEGORIES[i % 3], price_cents=100 * i
    )
    for i in range(12)
]
ARRAYS = CatalogueArrays.build(
    PRODUCTS,
    popularity={"p1": 9, "p2": 99},
    # p11 and the spades are unknown to the ranker.
    product_vocabulary=[f"p{i}" for i in range(11)],
    category_vocabulary=CATEGORIES[:2],
)


def features(
    history: list[str], candidates: list[str], scores: list[float]
) -> dict[str, list[float]]:
    _, dense = rank_features(
        ARRAYS, ARRAYS.rows(history), ARRAYS.rows(candidates), np.array(scores, np.float32)
    )
    return {name: dense[:, i].tolist() for i, name in enumerate(RANKER_DENSE)}


def test_index_0_stands_for_what_the_vocabularies_do_not_know() -> None:
    assert ARRAYS.product_index.tolist() == [*range(1, 12), 0]
    assert ARRAYS.category_index.tolist() == [1, 2, 0] * 4


def test_rows_leave_out_what_the_catalogue_does_not_have() -> None:
    assert ARRAYS.rows(["p3", "gone", "p0"]).tolist() == [3, 0]
    assert ARRAYS.rows([]).dtype == np.int64


def test_ranker_features_by_hand() -> None:
    categorical, dense = rank_features(
        ARRAYS,
        ARRAYS.rows(["p3", "p4", "p4", "p1"]),
        ARRAYS.rows(["p0", "p1"]),
        np.array([3.0, 1.0], np.float32),
    )
    assert categorical.tolist() == [[1, 1, 2], [2, 2, 2]]
    by_name = dict(zip(RANKER_DENSE, dense.T.tolist(), strict=True))
    assert by_name["retrieval_score"] == pytest.approx([1.0, -1.0])
    assert by_name["retrieval_reciprocal_rank"] == pytest.approx([1.0, 0.5])
    assert by_name["log_popularity"] == pytest.approx([0.0, math.log(10) / 10])
    # Of the history one is a mug (p3), three are pans (p4, p4, p1).
    assert by_name["category_share"] == pytest.approx([0.25, 0.75])
    assert by_name["seen_before"] == [0.0, 1.0]
    assert by_name["log_history_length"] == pytest.approx([math.log1p(4) / 4] * 2)
    usual = np.mean([math.log1p(100 * i) for i in (3, 4, 4, 1)])
    assert by_name["log_price_against_history"] == pytest.approx(
        [0.0 - usual, math.log1p(100) - usual], rel=1e-5
    )


def test_only_the_last_five_interactions_count_as_recent() -> None:
    found = features(["p0"] * 20 + ["p1"] * 5, ["p0", "p1"], [0.0, 0.0])
    assert found["category_share_recent"] == [0.0, 1.0]
    assert found["category_share"] == pytest.approx([0.8, 0.2])


def test_equal_retrieval_scores_say_nothing() -> None:
    assert features([], ["p0", "p1"], [7.0, 7.0])["retrieval_score"] == [0.0, 0.0]
    assert features([], ["p0"], [7.0])["retrieval_score"] == [0.0]


@given(
    history=st.lists(st.sampled_from([f"p{i}" for i in range(12)]), max_size=60),
    candidates=st.lists(st.sampled_from([f"p{i}" for i in range(12)]), unique=True),
    scale=st.floats(0.001, 1000.0),
    shift=st.floats(-100.0, 100.0),
)
def test_shapes_hold_and_the_scale_of_the_retrieval_scores_does_not_matter(
    history: list[str], candidates: list[str], scale: float, shift: float
) -> None:
    scores = np.linspace(2.0, -2.0, len(candidates)).astype(np.float32)
    rows = ARRAYS.rows(history), ARRAYS.rows(candidates)
    categorical, dense = rank_features(ARRAYS, *rows, scores)
    assert categorical.shape == (len(candidates), len(RANKER_CATEGORICAL))
    assert categorical.dtype == np.int64
    assert dense.shape == (len(candidates), len(RANKER_DENSE))
    assert dense.dtype == np.float32
    assert np.isfinite(dense).all()
    scaled = (scores * scale + shift).astype(np.float32)
    # float32 keeps about 7 digits of a score that the shift made large.
    np.testing.assert_allclose(rank_features(ARRAYS, *rows, scaled)[1], dense, atol=0.05)


@given(st.permutations([f"p{i}" for i in range(6)]))
def test_a_candidates_own_features_do_not_depend_on_its_place(order: list[str]) -> None:
    found = features(["p0", "p1"], order, [0.0] * 6)
    alone = features(["p0", "p1"], ["p3"], [0.0])
    place = order.index("p3")
    for name in set(RANKER_DENSE) - {"retrieval_reciprocal_rank"}:
        assert found[name][place] == pytest.approx(alone[name][0])


def test_runs_of_one_product_are_one_interest() -> None:
    assert history_products(["a", "a", "b", "a", "b", "b"]) == ["a", "b", "a", "b"]
    assert history_products([]) == []


def test_the_decision_vector_has_the_order_of_the_names() -> None:
    names = DecisionFeatures.names()
    assert len(names) == 22
    for i, name in enumerate(names):
        vector = DecisionFeatures(**{name: 3.0}).vector()
        assert vector.dtype == np.float32
        assert np.flatnonzero(vector).tolist() == [i]

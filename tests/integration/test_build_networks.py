"""What the networks promise before any training: shapes, padding, order."""

import numpy as np
import pytest
import torch

from model_build.runtime import torch_runner
from model_build.specs import SPECS
from model_build.specs.candidates import HISTORY_LENGTH
from model_build.train.decision import DecisionNetwork
from model_build.train.deepfm import DeepFm
from model_build.train.histories import NextPurchase, item_indexes
from model_build.train.minilm import MiniLm, MiniLmConfig, mean_pool
from model_build.train.ranker import candidate_lists
from model_build.train.retrieval_metrics import ItemKnn, hit_rate, most_popular, ndcg
from model_build.train.sasrec import ItemVectors, SasRec, words_of_items
from serving.assets import CandidatesAssets, RankerAssets
from serving.features import RANKER_DENSE, CatalogueArrays
from serving.pipelines.past import load_past
from serving.pipelines.recommend import RecommendInput
from serving.types import EventKind, Product
from tests.fakes.interactions import bought
from tests.fakes.world import PRODUCTS, build_world, context, small_assets

pytestmark = [pytest.mark.integration, pytest.mark.untimed]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("items", [5, 199, 200, 230])
def test_padding_is_never_recommended_and_no_item_twice(items: int) -> None:
    model = SasRec(items, width=16).eval()
    with torch.no_grad():
        # Padding would win by far, if it could.
        model.item.weight.normal_()
        model.item.weight[0] = 1000.0
        model.item_bias[0] = 1e6
    spec = SPECS["candidates"]
    rng = np.random.default_rng(1)
    history = rng.integers(1, items + 1, (9, HISTORY_LENGTH))
    for row in range(9):
        history[row, : row * 6] = 0
    history[8] = 0
    outputs = torch_runner(spec, model)({"history": history})
    spec.check(outputs, spec.outputs)
    found, scores = outputs["item_indexes"], outputs["scores"]
    assert found.shape == scores.shape == (9, min(200, items))
    assert found.min() >= 1
    assert found.max() <= items
    assert all(len(set(row.tolist())) == len(row) for row in found)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert np.isfinite(scores).all()


def test_padding_in_front_does_not_change_what_is_foretold() -> None:
    model = SasRec(40, width=16).eval()
    short = torch.zeros(1, HISTORY_LENGTH, dtype=torch.int64)
    short[0, -3:] = torch.tensor([4, 9, 2])
    with torch.no_grad():
        model.item.weight.normal_()
        before = model(short)[1]
        model.item.weight[0] = 5.0
        after = model(short)[1]
    torch.testing.assert_close(before, after, atol=1e-3, rtol=1e-3)


def test_the_future_does_not_change_the_past() -> None:
    model = SasRec(40, width=16).eval()
    one = torch.randint(1, 41, (1, HISTORY_LENGTH))
    other = one.clone()
    other[0, 30:] = 7
    with torch.no_grad():
        model.item.weight.normal_()
        states = [model.states(history, model.item.weight) for history in (one, other)]
    torch.testing.assert_close(states[0][:, :30], states[1][:, :30])
    assert not torch.allclose(states[0][:, 30:], states[1][:, 30:])


def test_items_share_the_words_that_describe_more_than_one() -> None:
    def product(number: int, title: str, category: str) -> Product:
        return Product(
            product_id=f"p{number}", title=title, category=category, price_cents=1, brand="Acme"
        )

    words = words_of_items(
        [
            product(0, "Blue Mug", "home/mugs"),
            product(1, "Red Mugs", "home/mugs"),
            product(2, "Garden Spade", "garden/spades"),
        ]
    )
    assert words.shape[0] == 4
    assert not words[0].any()
    described = [set(row.tolist()) - {0} for row in words[1:]]
    # "mug", both categories and the brand; the spade shares the brand alone.
    assert described[0] == described[1]
    assert len(described[0]) == 4
    assert len(described[2]) == 1
    assert described[2] < described[0]
    vectors = ItemVectors(words, 8)()
    assert vectors.shape == (4, 8)
    assert not vectors[0].any()


def test_an_untrained_ranker_keeps_the_candidates_order() -> None:
    model = DeepFm(30, 5).eval()
    dense = np.zeros((20, len(RANKER_DENSE)), np.float32)
    dense[:, 0] = np.linspace(2, -2, 20)
    rows = {"categorical": np.zeros((20, 3), np.int64), "dense": dense}
    scores = torch_runner(SPECS["ranker"], model)(rows)["score"][:, 0]
    assert (np.diff(scores) < 0).all()


async def test_the_ranker_is_trained_on_the_features_that_serving_computes() -> None:
    world = build_world()
    await world.happens(EventKind.VIEW, "p03", "p03", "p08", customer_id="alice")
    await world.happens(EventKind.ADD_TO_CART, "p08", "p01", customer_id="alice")
    await world.happens(EventKind.REMOVE_FROM_CART, "p01", customer_id="alice")
    await world.happens(EventKind.PURCHASE, "p08", "p20", customer_id="alice")
    past = await load_past(world.stores.history, customer_id="alice", session_id="")
    await world.pipelines.recommend(RecommendInput(customer_id="alice", top_k=5), context())
    served = [dict(inputs) for model, inputs in world.models.calls if model == "ranker"][-1]
    asked = [dict(inputs) for model, inputs in world.models.calls if model == "candidates"][-1]

    found = world.models.functions["candidates"](asked)
    assets = {a.manifest.model: a for a in small_assets()}
    candidates, ranker = assets["candidates"], assets["ranker"]
    assert isinstance(candidates, CandidatesAssets)
    assert isinstance(ranker, RankerAssets)
    product_ids = [candidates.products[i - 1] for i in found["item_indexes"][0].tolist()]
    catalogue = CatalogueArrays.build(
        PRODUCTS,
        await world.stores.shop.popularity(),
        ranker.product_vocabulary,
        ranker.category_vocabulary,
    )
    purchase = NextPurchase(
        customer_id="alice",
        history=past.interests(),
        has_already=past.has_already(),
        bought=("p20", "p04"),
    )
    (trained,) = candidate_lists(
        catalogue, [purchase], lambda histories: [(product_ids, found["scores"][0])]
    )
    np.testing.assert_array_equal(trained.categorical, served["categorical"])
    np.testing.assert_allclose(trained.dense, served["dense"], rtol=1e-6)
    # p20 was bought before and is not shown again, so only p04 counts as foretold.
    assert trained.wanted == {catalogue.row_of["p04"]}
    assert trained.bought.sum() == 1


def test_padding_tokens_change_nothing() -> None:
    config = MiniLmConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    model = MiniLm(config).eval()
    ids = torch.randint(5, 500, (3, 9))
    mask = torch.ones_like(ids)
    longer = torch.cat([ids, torch.full((3, 7), 3)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(3, 7, dtype=torch.int64)], dim=1)
    with torch.inference_mode():
        short, long = model(ids, mask), model(longer, longer_mask)
        torch.testing.assert_close(short, long[:, :9], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            mean_pool(short, mask), mean_pool(long, longer_mask), atol=1e-5, rtol=1e-5
        )
        # The work can be cut at any layer.
        for layers in (0, 1, 2):
            halfway = model.lower(ids, mask, layers)
            torch.testing.assert_close(model.upper(halfway, mask, layers), short)
        assert mean_pool(short, torch.zeros_like(mask)).abs().max() == 0.0


def test_decision_probabilities_are_probabilities() -> None:
    model = DecisionNetwork(torch.zeros(22), torch.full((22,), 1e-3), 16).eval()
    spec = SPECS["decision"]
    outputs = torch_runner(spec, model)(spec.sample_inputs(np.random.default_rng(1), 30))
    spec.check(outputs, spec.outputs)
    assert np.allclose(outputs["action_probabilities"].sum(1), 1.0, atol=1e-5)
    assert ((outputs["purchase_propensity"] >= 0) & (outputs["purchase_propensity"] <= 1)).all()


def test_figures_of_a_list_against_counts_by_hand() -> None:
    ranked = [np.array([5, 3, 9]), np.array([1, 2, 3]), np.array([7, 8, 9])]
    wanted: list[set[int]] = [{3, 9}, {4}, {7}]
    assert hit_rate(ranked, wanted, 1) == pytest.approx(1 / 3)
    assert hit_rate(ranked, wanted, 2) == pytest.approx(2 / 3)
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    both = (second + third) / (1 + second)
    assert ndcg(ranked, wanted, 3) == pytest.approx((both + 0.0 + 1.0) / 3)


def test_simple_recommenders_do_what_they_say() -> None:
    index = item_indexes([f"p{i}" for i in range(8)])
    interactions = [
        *bought("a", 1, "p1", "p2"),
        *bought("b", 1, "p1", "p2"),
        *bought("c", 1, "p1", "p5"),
        *bought("d", 1, "p6"),
    ]
    assert most_popular(interactions, index, 3).tolist() == [
        index["p1"],
        index["p2"],
        index["p5"],
    ]
    history = np.zeros(HISTORY_LENGTH, np.int64)
    history[-1] = index["p2"]
    ranked = ItemKnn(interactions, index).rank(history, 8)
    assert ranked[0] == index["p1"]
    assert 0 not in ranked

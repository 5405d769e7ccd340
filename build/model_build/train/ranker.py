"""Trains `ranker`: a DeepFM over the candidates that the published candidates model retrieves.

    history ─▶ candidates artifact ─▶ 200 items ─▶ serving.features.rank_features ─▶ DeepFM

It learns from customers whose last purchases the candidates model never saw, so that retrieval is
no better in training than it is when serving. A customer's candidates are one list; the loss is the
softmax over it (ListNet with one-hot relevance: Cao et al., ICML 2007). Afterwards the scores are
turned into probabilities by two numbers (Platt 1999), which keep the order.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from model_build.progress import Tracker
from model_build.specs.ranker import SPEC
from model_build.train.deepfm import DeepFm
from model_build.train.histories import NextPurchase
from model_build.train.retrieval_metrics import hit_rate, ndcg
from model_build.train.trained import TrainedModel, batches_of
from serving.features import CatalogueArrays, rank_features
from serving.types import Product

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
# Histories (product ids, oldest first) -> for each, product ids and scores float32, best first.
Retrieve = Callable[[Sequence[Sequence[str]]], list[tuple[list[str], Floats]]]
_PARITY_LISTS = 8
# Share of the training lists that only calibrate the scores.
_CALIBRATION_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class RankerSettings:
    """How long and how to train."""

    epochs: int
    lists_per_batch: int = 16
    learning_rate: float = 1e-3
    # Of what is learnt of single products and categories: there are thousands of them and few
    # purchases of each in the lists, so they may only move a little from "no opinion".
    vocabulary_learning_rate: float = 1e-5
    weight_decay: float = 0.02


@dataclass(frozen=True, kw_only=True)
class RankerData:
    """Lists to learn from and to judge by."""

    products: tuple[Product, ...]
    # Purchases by product id, before the time of any of the lists.
    popularity: Mapping[str, int]
    # Of customers and times that the candidates model was not trained on.
    train: tuple[NextPurchase, ...]
    held_out: tuple[NextPurchase, ...]


@dataclass(frozen=True, kw_only=True)
class CandidateList:
    """One customer's candidates with their features, in the candidates' order."""

    # int64 [c, 3] and float32 [c, 9]
    categorical: Ints
    dense: Floats
    # bool [c]: bought in the next visit
    bought: NDArray[np.bool_]
    # Rows of the catalogue, int64 [c]
    rows: Ints
    # Rows that were bought, whether retrieved or not
    wanted: frozenset[int]


def train_ranker(
    data: RankerData,
    retrieve: Retrieve,
    settings: RankerSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> TrainedModel:
    """Trains, calibrates, and compares with the candidates' order and with popularity.

    Raises:
        ValueError: no list to learn from or to judge by holds a purchase.
    """
    categories = sorted({p.category for p in data.products})
    product_ids = [p.product_id for p in data.products]
    catalogue = CatalogueArrays.build(data.products, dict(data.popularity), product_ids, categories)
    lists = [c for c in candidate_lists(catalogue, data.train, retrieve) if c.bought.any()]
    judged = candidate_lists(catalogue, data.held_out, retrieve)
    if len(lists) < 2 or not any(c.bought.any() for c in judged):
        raise ValueError("ranker: too few customers bought what was retrieved for them")
    order = rng.permutation(len(lists))
    held = max(1, int(len(lists) * _CALIBRATION_SHARE))
    torch.manual_seed(int(rng.integers(2**31)))
    model = DeepFm(len(product_ids), len(categories))
    _fit(model, [lists[i] for i in order[held:]], settings, rng, tracker)
    model.eval()
    _calibrate(model, [lists[i] for i in order[:held]])
    vocabulary = {"products": product_ids, "categories": categories}
    sample = judged[:_PARITY_LISTS]
    return TrainedModel(
        spec=SPEC,
        module=model,
        samples=tuple(
            batch
            for c in sample
            for batch in batches_of({"categorical": c.categorical, "dense": c.dense}, 256)
        ),
        assets={"vocabulary.json": (json.dumps(vocabulary) + "\n").encode()},
        metrics=_figures(judged, [_score(model, c) for c in judged]),
        baseline_metrics={
            # The retrieval score falls along the list.
            **_figures(judged, [-np.arange(len(c.rows), dtype=np.float32) for c in judged]),
            **{
                f"most_popular.{name}": value
                for name, value in _figures(
                    judged, [catalogue.log_popularity[c.rows] for c in judged]
                ).items()
            },
        },
        config={"training_lists": len(lists), "held_out_lists": len(judged)},
    )


def candidate_lists(
    catalogue: CatalogueArrays, purchases: Sequence[NextPurchase], retrieve: Retrieve
) -> list[CandidateList]:
    """Retrieves, filters and computes features for each customer as serving would.

    What a customer has already is not recommended, so buying it again is nothing to foretell;
    customers who bought nothing else are left out.
    """
    lists = []
    retrieved = retrieve([p.history for p in purchases])
    for purchase, (product_ids, scores) in zip(purchases, retrieved, strict=True):
        wanted = frozenset(
            catalogue.rows([p for p in purchase.bought if p not in purchase.has_already]).tolist()
        )
        if not wanted:
            continue
        kept = [i for i, p in enumerate(product_ids) if p not in purchase.has_already]
        rows = catalogue.rows([product_ids[i] for i in kept])
        categorical, dense = rank_features(
            catalogue, catalogue.rows(purchase.history), rows, scores[kept]
        )
        lists.append(
            CandidateList(
                categorical=categorical,
                dense=dense,
                bought=np.isin(rows, list(wanted)),
                rows=rows,
                wanted=wanted,
            )
        )
    return lists


def _fit(
    model: DeepFm,
    lists: Sequence[CandidateList],
    settings: RankerSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> None:
    steps = settings.epochs * -(-len(lists) // settings.lists_per_batch)
    vocabulary = [*model.weights.parameters(), *model.vectors.parameters()]
    known = {id(p) for p in vocabulary}
    rates = [settings.vocabulary_learning_rate, settings.learning_rate]
    optimizer = torch.optim.AdamW(
        [
            {"params": vocabulary, "lr": rates[0]},
            {"params": [p for p in model.parameters() if id(p) not in known], "lr": rates[1]},
        ],
        weight_decay=settings.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[3 * rate for rate in rates], total_steps=steps, pct_start=0.2
    )
    model.train()
    batches = (
        [lists[i] for i in order[start : start + settings.lists_per_batch]]
        for order in (rng.permutation(len(lists)) for _ in range(settings.epochs))
        for start in range(0, len(lists), settings.lists_per_batch)
    )
    for batch in tracker.track(batches, "ranker: training", steps):
        loss = _list_loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _list_loss(model: DeepFm, lists: Sequence[CandidateList]) -> Tensor:
    """Mean negative log-probability of the purchases under the softmax over their list."""
    categorical = torch.from_numpy(np.concatenate([c.categorical for c in lists]))
    dense = torch.from_numpy(np.concatenate([c.dense for c in lists]))
    scores = torch.split(model.raw(categorical, dense)[:, 0], [len(c.rows) for c in lists])
    losses = [
        -torch.log_softmax(score, dim=0)[torch.from_numpy(c.bought)].mean()
        for score, c in zip(scores, lists, strict=True)
    ]
    return torch.stack(losses).mean()


def _calibrate(model: DeepFm, lists: Sequence[CandidateList]) -> None:
    """Sets scale and shift so that the sigmoid of the score is a probability."""
    scores = np.concatenate([_score(model, c) for c in lists])
    bought = np.concatenate([c.bought for c in lists])
    fitted = LogisticRegression().fit(scores[:, None], bought)
    # A scale that is not positive would turn the order round; then the scores say nothing.
    scale = max(float(fitted.coef_[0, 0]), 1e-3)
    model.scale.fill_(scale)
    model.shift.fill_(float(fitted.intercept_[0]))


def _score(model: DeepFm, candidates: CandidateList) -> Floats:
    with torch.inference_mode():
        scores = model(torch.from_numpy(candidates.categorical), torch.from_numpy(candidates.dense))
    return np.asarray(scores[:, 0].numpy(), np.float32)


def _figures(lists: Sequence[CandidateList], scores: Sequence[Floats]) -> dict[str, float]:
    """NDCG and hit rate at 10 over all customers; AUC over those with a purchase retrieved."""
    ranked = [c.rows[np.argsort(-s, kind="stable")] for c, s in zip(lists, scores, strict=True)]
    wanted = [set(c.wanted) for c in lists]
    areas = [
        float(roc_auc_score(c.bought, s))
        for c, s in zip(lists, scores, strict=True)
        if 0 < c.bought.sum() < len(c.bought)
    ]
    return {
        "ndcg_10": ndcg(ranked, wanted, 10),
        "hit_rate_10": hit_rate(ranked, wanted, 10),
        "auc": float(np.mean(areas)) if areas else 0.5,
    }

"""Trains `candidates`: next items from a history (see `sasrec`), judged on what came later."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model_build.data.types import Interaction
from model_build.progress import Tracker
from model_build.specs.candidates import HISTORY_LENGTH, SPEC
from model_build.train.histories import (
    TARGETS,
    encode_history,
    item_indexes,
    next_purchases,
    training_sequences,
)
from model_build.train.retrieval_metrics import (
    ItemKnn,
    bought_items,
    most_popular,
    retrieval_figures,
)
from model_build.train.sasrec import ItemVectors, SasRec, words_of_items
from model_build.train.trained import TrainedModel, batches_of, sample_rows
from serving.types import Product

Ints = NDArray[np.int64]
# Longest list that the figures look at.
_JUDGED = 20
_PARITY_SAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class CandidatesSettings:
    """How long and how to train."""

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    width: int = 64
    dropout: float = 0.3


@dataclass(frozen=True, kw_only=True)
class CandidatesData:
    """Interactions by time: what the model learns from, and what follows."""

    products: tuple[Product, ...]
    train: tuple[Interaction, ...]
    # Everything before `held_out`: the histories that it is foretold from.
    past: tuple[Interaction, ...]
    held_out: tuple[Interaction, ...]


def train_candidates(
    data: CandidatesData, settings: CandidatesSettings, rng: np.random.Generator, tracker: Tracker
) -> TrainedModel:
    """Trains on `train` and foretells each customer's next purchase in `held_out`.

    Raises:
        ValueError: there is nothing to learn from, or nothing to judge by.
    """
    product_ids = [p.product_id for p in data.products]
    index = item_indexes(product_ids)
    inputs, targets = training_sequences(data.train, index, rng)
    if not len(inputs):
        raise ValueError("candidates: no customer has a history to learn from")
    torch.manual_seed(int(rng.integers(2**31)))
    model = SasRec(len(index), width=settings.width, dropout=settings.dropout)
    vectors = ItemVectors(words_of_items(data.products), settings.width)
    _fit(model, vectors, inputs, targets, settings, rng, tracker)
    with torch.no_grad():
        model.item.weight.copy_(vectors())
    model.eval()

    judged = next_purchases(data.past, data.held_out)
    if not judged:
        raise ValueError("candidates: no customer has purchases before and after the split")
    histories = np.stack([encode_history(n.history, index) for n in judged])
    bought = bought_items(judged, index)
    knn = ItemKnn(data.past, index)
    popular = most_popular(data.past, index, _JUDGED)
    sample = histories[sample_rows(rng, len(histories), _PARITY_SAMPLES)]
    return TrainedModel(
        spec=SPEC,
        module=model,
        samples=batches_of({"history": sample}, 32),
        assets={"products.json": (json.dumps(product_ids) + "\n").encode()},
        metrics=retrieval_figures(_retrieve(model, histories), bought),
        baseline_metrics={
            **retrieval_figures([popular] * len(judged), bought),
            **_prefixed("item_knn", [knn.rank(h, _JUDGED) for h in histories], bought),
        },
        config={
            "products": len(product_ids),
            "training_sequences": len(inputs),
            "held_out_customers": len(judged),
        },
    )


def _fit(
    model: SasRec,
    vectors: ItemVectors,
    inputs: Ints,
    targets: Ints,
    settings: CandidatesSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> None:
    steps = settings.epochs * -(-len(inputs) // settings.batch_size)
    parameters = [
        *(p for name, p in model.named_parameters() if name != "item.weight"),
        *vectors.parameters(),
    ]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=0.02, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=steps, pct_start=0.1
    )
    model.train()
    batches = (
        batch
        for _ in range(settings.epochs)
        for batch in _shuffled(inputs, targets, settings.batch_size, rng)
    )
    for history, wanted in tracker.track(batches, "candidates: training", steps):
        learnt = wanted > 0
        table = vectors()
        logits = model.logits(model.states(history, table)[learnt], table)
        loss = functional.cross_entropy(logits, wanted[learnt])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def _shuffled(
    inputs: Ints, targets: Ints, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of histories int64 [b, 50] and one drawn target a position, int64 [b, 50]."""
    order = rng.permutation(len(inputs))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        which = rng.integers(0, TARGETS, (len(rows), HISTORY_LENGTH, 1))
        wanted = np.take_along_axis(targets[rows], which, axis=2)[:, :, 0]
        yield torch.from_numpy(inputs[rows]), torch.from_numpy(wanted)


def _retrieve(model: SasRec, histories: Ints) -> list[Ints]:
    """Item indexes for each history, best first."""
    ranked: list[Ints] = []
    with torch.inference_mode():
        for start in range(0, len(histories), 256):
            items, _ = model(torch.from_numpy(histories[start : start + 256]))
            ranked.extend(items.numpy())
    return ranked


def _prefixed(name: str, ranked: Sequence[Ints], bought: Sequence[set[int]]) -> dict[str, float]:
    return {f"{name}.{key}": value for key, value in retrieval_figures(ranked, bought).items()}

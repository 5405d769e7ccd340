"""Trains `understanding`: MiniLM with four heads in one pass.

    tokens ─▶ lower layers (frozen, run once) ─▶ upper layers ─┬─▶ slot tag of each token
                                                               └─ mean ─▶ intent, mood, scope

The losses of the four tasks are added up; a task without a label for an utterance takes no part
(multi-task learning with masked losses). Logits are calibrated afterwards by a temperature on
held-out utterances (Guo et al. 2017).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_build.data.types import LabelledUtterance
from model_build.parity import INTENT_LABEL
from model_build.progress import Tracker
from model_build.specs.understanding import SPEC
from model_build.train import calibration
from model_build.train.minilm import MiniLm, load_pretrained, mean_pool, pretrained_folder
from model_build.train.trained import Batch, TrainedModel
from model_build.train.understanding_metrics import Predictions, score, score_majority
from model_build.train.utterances import (
    NO_LABEL,
    EncodedUtterance,
    UtteranceBatch,
    batches_by_length,
    encode_utterances,
)
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.models.tokenizer import Tokenizer
from serving.types import Sentiment

_SLOT_WEIGHT = 1.0
_SENTIMENT_WEIGHT = 0.5
_OUT_OF_SCOPE_WEIGHT = 0.5
_LABEL_SMOOTHING = 0.02
# Utterances in the parity check.
_PARITY_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class UnderstandingSettings:
    """How long and how to train."""

    # Layers of the encoder that stay as they were pretrained; the other ones are trained.
    frozen_layers: int
    epochs: int
    batch_size: int = 32
    learning_rate: float = 3e-4
    head_learning_rate: float = 2e-3
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class UnderstandingData:
    """Utterances to train on, and held-out ones by the name of their source.

    No group of utterances is on both sides. The first source is what the model is judged by; a task
    that it has no labels for is judged on the next one that has.
    """

    train: tuple[LabelledUtterance, ...]
    held_out: Mapping[str, tuple[LabelledUtterance, ...]]


class UnderstandingModel(nn.Module):
    """The encoder and the four heads, in the order of the spec's outputs."""

    def __init__(self, encoder: MiniLm, dropout: float = 0.0) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.intent = nn.Linear(width, len(INTENT_NAMES))
        self.slots = nn.Linear(width, len(SLOT_TAGS))
        self.sentiment = nn.Linear(width, len(Sentiment))
        self.out_of_scope = nn.Linear(width, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """int64 [n, l] twice -> logits [n, i], [n, l, t], [n, 3], [n, 1]."""
        return self.heads(self.encoder(input_ids, attention_mask), attention_mask)

    def heads(self, hidden: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Logits from the encoder's last layer [n, l, 384]."""
        hidden = self.dropout(hidden)
        pooled = mean_pool(hidden, attention_mask)
        return (
            self.intent(pooled),
            self.slots(hidden),
            self.sentiment(pooled),
            self.out_of_scope(pooled),
        )


def train_understanding(
    data: UnderstandingData,
    settings: UnderstandingSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> TrainedModel:
    """Trains, calibrates and evaluates.

    The held-out utterances are halved by group: temperatures come from one half, the reported
    figures from the other.
    """
    tokenizer_file = pretrained_folder() / "tokenizer.json"
    max_length = SPEC.config["max_length"]
    tokenizer = Tokenizer.from_file(tokenizer_file, max_length)
    torch.manual_seed(int(rng.integers(2**31)))
    model = UnderstandingModel(load_pretrained(settings.dropout), settings.dropout)
    encoded = encode_utterances(data.train, tokenizer)
    _fit(model, encoded, settings, rng, tracker)
    model.eval()

    calibrating: list[Predictions] = []
    judged: dict[str, Predictions] = {}
    for source, utterances in data.held_out.items():
        first, second = _halves(utterances, rng)
        calibrating.append(predict(model, encode_utterances(first, tokenizer)))
        judged[source] = predict(model, encode_utterances(second, tokenizer))
    intent_temperature, out_of_scope_temperature = _temperatures(calibrating)
    judged = {
        source: predictions.calibrated(intent_temperature, out_of_scope_temperature)
        for source, predictions in judged.items()
    }
    labels = {
        "intents": list(INTENT_NAMES),
        "slot_tags": list(SLOT_TAGS),
        "sentiments": [s.value for s in Sentiment],
        "intent_temperature": intent_temperature,
        "out_of_scope_temperature": out_of_scope_temperature,
        "max_length": max_length,
    }
    samples = [e for p in judged.values() for e in p.encoded]
    chosen = rng.permutation(len(samples))[:_PARITY_SAMPLES]
    return TrainedModel(
        spec=SPEC,
        module=model,
        samples=tuple(
            _sample(batch) for batch in batches_by_length([samples[i] for i in chosen], 16)
        ),
        assets={
            "tokenizer.json": tokenizer_file.read_bytes(),
            "labels.json": (json.dumps(labels, indent=2) + "\n").encode(),
        },
        metrics=score(judged),
        baseline_metrics=score_majority(data.train, judged),
        config={"training_utterances": len(data.train)},
    )


def predict(model: UnderstandingModel, encoded: Sequence[EncodedUtterance]) -> Predictions:
    """Runs the model over utterances; the predictions are in their order."""
    count = len(encoded)
    intent = np.zeros((count, len(INTENT_NAMES)), np.float32)
    sentiment = np.zeros((count, len(Sentiment)), np.float32)
    out_of_scope = np.zeros(count, np.float32)
    slots: list[NDArray[np.float32]] = [np.zeros((0, len(SLOT_TAGS)), np.float32)] * count
    with torch.inference_mode():
        for batch in batches_by_length(encoded, 32):
            rows = list(batch.rows)
            outputs = [o.numpy() for o in model(batch.input_ids, batch.attention_mask)]
            intent[rows], sentiment[rows], out_of_scope[rows] = (
                outputs[0],
                outputs[2],
                outputs[3][:, 0],
            )
            for i, row in enumerate(rows):
                slots[row] = outputs[1][i, : len(encoded[row].input_ids)]
    return Predictions(
        encoded=tuple(encoded),
        intent_logits=intent,
        slot_logits=tuple(slots),
        sentiment_logits=sentiment,
        out_of_scope_logits=out_of_scope,
    )


def _fit(
    model: UnderstandingModel,
    encoded: Sequence[EncodedUtterance],
    settings: UnderstandingSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> None:
    hidden = _lower_states(model.encoder, encoded, settings.frozen_layers, tracker)
    encoder_parameters = [
        p for layer in model.encoder.layers[settings.frozen_layers :] for p in layer.parameters()
    ]
    known = {id(p) for p in model.encoder.parameters()}
    heads = [p for p in model.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder_parameters, "lr": settings.learning_rate},
            {"params": heads, "lr": settings.head_learning_rate},
        ],
        weight_decay=0.01,
    )
    batches_per_epoch = -(-len(encoded) // settings.batch_size)
    steps = batches_per_epoch * settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[settings.learning_rate, settings.head_learning_rate],
        total_steps=steps,
        pct_start=0.1,
        anneal_strategy="linear",
    )
    model.train()
    batches = (
        batch
        for _ in range(settings.epochs)
        for batch in batches_by_length(encoded, settings.batch_size, rng)
    )
    for batch in tracker.track(batches, "understanding: training", steps):
        states = _pad_states(hidden, batch)
        states = model.encoder.upper(states, batch.attention_mask, settings.frozen_layers)
        loss = _loss(model.heads(states, batch.attention_mask), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*encoder_parameters, *heads], 1.0)
        optimizer.step()
        schedule.step()


def _lower_states(
    encoder: MiniLm, encoded: Sequence[EncodedUtterance], layers: int, tracker: Tracker
) -> list[Tensor]:
    """Output of the frozen layers for each utterance, float16 [l, 384].

    They do not change while the upper layers learn, so one pass over them serves all epochs.
    """
    encoder.eval()
    states = [torch.empty(0)] * len(encoded)
    batches = batches_by_length(encoded, 64)
    with torch.inference_mode():
        for batch in tracker.track(batches, "understanding: lower layers", -(-len(encoded) // 64)):
            hidden = encoder.lower(batch.input_ids, batch.attention_mask, layers)
            for i, row in enumerate(batch.rows):
                states[row] = hidden[i, : len(encoded[row].input_ids)].to(torch.float16)
    return states


def _pad_states(hidden: Sequence[Tensor], batch: UtteranceBatch) -> Tensor:
    """float32 [n, l, 384], zeros where there is padding."""
    return nn.utils.rnn.pad_sequence([hidden[row] for row in batch.rows], batch_first=True).to(
        torch.float32
    )


def _loss(outputs: tuple[Tensor, ...], batch: UtteranceBatch) -> Tensor:
    intent, slots, sentiment, out_of_scope = outputs
    known = batch.out_of_scope != NO_LABEL
    losses = (
        (1.0, intent, batch.intent),
        (_SLOT_WEIGHT, slots.flatten(0, 1), batch.tags.flatten()),
        (_SENTIMENT_WEIGHT, sentiment, batch.sentiment),
    )
    total = torch.zeros(())
    for weight, logits, labels in losses:
        if (labels != NO_LABEL).any():
            total = total + weight * functional.cross_entropy(
                logits, labels, ignore_index=NO_LABEL, label_smoothing=_LABEL_SMOOTHING
            )
    if known.any():
        total = total + _OUT_OF_SCOPE_WEIGHT * functional.binary_cross_entropy_with_logits(
            out_of_scope[known, 0], batch.out_of_scope[known].to(torch.float32)
        )
    return total


def _halves(
    utterances: Sequence[LabelledUtterance], rng: np.random.Generator
) -> tuple[list[LabelledUtterance], list[LabelledUtterance]]:
    """Two halves with no group in both."""
    groups = sorted({u.group for u in utterances})
    first = {groups[i] for i in rng.permutation(len(groups))[: len(groups) // 2]}
    return (
        [u for u in utterances if u.group in first],
        [u for u in utterances if u.group not in first],
    )


def _temperatures(predictions: Sequence[Predictions]) -> tuple[float, float]:
    """Temperatures of the intent and the out-of-scope logits."""
    intent = np.concatenate([p.intent_logits for p in predictions])
    intent_labels = np.array([e.intent for p in predictions for e in p.encoded])
    scope = np.concatenate([p.out_of_scope_logits for p in predictions])
    scope_labels = np.array([e.out_of_scope for p in predictions for e in p.encoded])
    has_intent, has_scope = intent_labels != NO_LABEL, scope_labels != NO_LABEL
    return (
        calibration.fit_multiclass(intent[has_intent], intent_labels[has_intent]),
        calibration.fit_binary(scope[has_scope], scope_labels[has_scope]),
    )


def _sample(batch: UtteranceBatch) -> Batch:
    return {
        "input_ids": batch.input_ids.numpy(),
        "attention_mask": batch.attention_mask.numpy(),
        INTENT_LABEL: batch.intent.numpy(),
    }

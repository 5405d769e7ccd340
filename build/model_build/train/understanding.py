"""Trains `understanding`: MiniLM with four heads in one pass.

    tokens ─▶ lower layers (frozen, run once) ─▶ upper layers ─┬─▶ slot tag of each token
                                                               └─ mean ─▶ intent, mood, scope

The losses of the four tasks are added up; a task without a label for an utterance takes no part
(multi-task learning with masked losses).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_build.progress import Tracker
from model_build.specs.understanding import SPEC
from model_build.train.minilm import MiniLm, load_pretrained, pretrained_folder
from model_build.train.trained import TrainedModel
from model_build.train.understanding_evaluation import UnderstandingData, evaluate_understanding
from model_build.train.understanding_model import UnderstandingModel
from model_build.train.utterances import (
    NO_LABEL,
    EncodedUtterance,
    UtteranceBatch,
    batches_by_length,
    encode_utterances,
)
from serving.models.tokenizer import Tokenizer

_SLOT_WEIGHT = 1.0
_SENTIMENT_WEIGHT = 0.5
_OUT_OF_SCOPE_WEIGHT = 0.5
_LABEL_SMOOTHING = 0.02


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


def train_understanding(
    data: UnderstandingData,
    settings: UnderstandingSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> TrainedModel:
    """Trains, calibrates and evaluates."""
    tokenizer = Tokenizer.from_file(
        pretrained_folder() / "tokenizer.json", SPEC.config["max_length"]
    )
    torch.manual_seed(int(rng.integers(2**31)))
    model = UnderstandingModel(load_pretrained(settings.dropout), settings.dropout)
    _fit(model, encode_utterances(data.train, tokenizer), settings, rng, tracker)
    model.eval()
    trained = evaluate_understanding(model, data, rng)
    return replace(trained, config={"training_utterances": len(data.train)})


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

"""From final weights of `understanding` to what is published: temperatures, figures, samples.

Logits are calibrated by a temperature on held-out utterances (Guo et al. 2017).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_build.data.types import LabelledUtterance
from model_build.parity import INTENT_LABEL
from model_build.specs.understanding import SPEC
from model_build.train import calibration
from model_build.train.minilm import pretrained_folder
from model_build.train.trained import Batch, TrainedModel
from model_build.train.understanding_metrics import Predictions, score, score_majority
from model_build.train.understanding_model import UnderstandingModel, predict
from model_build.train.utterances import (
    NO_LABEL,
    UtteranceBatch,
    batches_by_length,
    encode_utterances,
)
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.models.tokenizer import Tokenizer
from serving.types import Sentiment

# Utterances in the parity check.
_PARITY_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class UnderstandingData:
    """Utterances to train on, and held-out ones by the name of their source.

    No group of utterances is on both sides. The first source is what the model is judged by; a task
    that it has no labels for is judged on the next one that has.
    """

    train: tuple[LabelledUtterance, ...]
    held_out: Mapping[str, tuple[LabelledUtterance, ...]]


def evaluate_understanding(
    model: UnderstandingModel, data: UnderstandingData, rng: np.random.Generator
) -> TrainedModel:
    """Calibrates and evaluates a model in evaluation mode.

    The held-out utterances are halved by group: temperatures come from one half, the reported
    figures from the other.
    """
    tokenizer_file = pretrained_folder() / "tokenizer.json"
    max_length = SPEC.config["max_length"]
    tokenizer = Tokenizer.from_file(tokenizer_file, max_length)
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
    )


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

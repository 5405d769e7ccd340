"""Held-out figures of `understanding`, and those of always saying the most common thing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model_build.data.types import LabelledUtterance
from model_build.train.calibration import expected_calibration_error
from model_build.train.utterances import NO_LABEL, EncodedUtterance
from serving.dialogue.intents import SLOT_TAGS
from serving.steps.outputs import softmax
from serving.steps.understand import decode_slots

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the model says about utterances; row i of every array belongs to `encoded[i]`."""

    encoded: tuple[EncodedUtterance, ...]
    # float32 [n, i], n times [l, t], [n, 3], [n]
    intent_logits: Floats
    slot_logits: tuple[Floats, ...]
    sentiment_logits: Floats
    out_of_scope_logits: Floats

    def calibrated(self, intent: float, out_of_scope: float) -> "Predictions":
        """The same with logits divided by their temperatures."""
        return replace(
            self,
            intent_logits=self.intent_logits / np.float32(intent),
            out_of_scope_logits=self.out_of_scope_logits / np.float32(out_of_scope),
        )


def score(judged: Mapping[str, Predictions]) -> dict[str, float]:
    """Figures over the held-out sources.

    The first source that has labels of a task gives the plain name (e.g. "intent_accuracy"); each
    further one adds the figure with its own name in front ("synthetic.intent_accuracy").
    """
    return _named({source: _figures(predictions) for source, predictions in judged.items()})


def score_majority(
    train: Sequence[LabelledUtterance], judged: Mapping[str, Predictions]
) -> dict[str, float]:
    """The same figures for the most common intent, mood and scope of the training set."""
    intent = _most_common(u.intent for u in train)
    mood = _most_common(u.sentiment for u in train)
    scope = _most_common(u.out_of_scope for u in train)
    figures: dict[str, dict[str, float]] = {}
    for source, predictions in judged.items():
        known = [e.source for e in predictions.encoded]
        always = {
            "intent_accuracy": _share(u.intent == intent for u in known if u.intent),
            # Nothing is ever marked.
            "slot_f1": 0.0,
            "sentiment_accuracy": _share(u.sentiment == mood for u in known if u.sentiment),
            "out_of_scope_accuracy": _share(
                u.out_of_scope == scope for u in known if u.out_of_scope is not None
            ),
            "out_of_scope_auc": 0.5,
        }
        wanted = _figures(predictions)
        figures[source] = {name: value for name, value in always.items() if name in wanted}
    return _named(figures)


def _named(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Figures by source as one mapping; a name that is taken gets its source in front."""
    named: dict[str, float] = {}
    for source, values in figures.items():
        for name, value in values.items():
            named[f"{source}.{name}" if name in named else name] = value
    return named


def _most_common(labels: Iterable[Any]) -> Any:
    counts = Counter(label for label in labels if label is not None)
    return counts.most_common(1)[0][0] if counts else None


def slot_f1(predictions: Predictions) -> float | None:
    """Micro F1 over slots: name and span must be exact. None if there are no labelled slots."""
    found = expected = right = 0
    for encoded, logits in zip(predictions.encoded, predictions.slot_logits, strict=True):
        if encoded.source.slots is None:
            continue
        columns = [column for column, _ in encoded.pieces]
        decoded = decode_slots(
            encoded.source.text,
            [piece for _, piece in encoded.pieces],
            softmax(logits[columns]),
            SLOT_TAGS,
        )
        got = {(s.name, s.start_char, s.end_char) for s in decoded}
        want = {(s.name, s.start_char, s.end_char) for s in encoded.source.slots}
        found += len(got)
        expected += len(want)
        right += len(got & want)
    if not expected:
        return None
    return 2 * right / (found + expected)


def _figures(predictions: Predictions) -> dict[str, float]:
    """Every figure that the source has labels for."""
    figures: dict[str, float] = {}
    intent = np.array([e.intent for e in predictions.encoded])
    known = intent != NO_LABEL
    if known.any():
        probabilities = softmax(predictions.intent_logits[known])
        right = probabilities.argmax(1) == intent[known]
        figures["intent_accuracy"] = float(right.mean())
        figures["intent_calibration_error"] = expected_calibration_error(
            probabilities.max(1), right
        )
    f1 = slot_f1(predictions)
    if f1 is not None:
        figures["slot_f1"] = f1
    mood = np.array([e.sentiment for e in predictions.encoded])
    known = mood != NO_LABEL
    if known.any():
        right = predictions.sentiment_logits[known].argmax(1) == mood[known]
        figures["sentiment_accuracy"] = float(right.mean())
    scope = np.array([e.out_of_scope for e in predictions.encoded])
    known = scope != NO_LABEL
    if len(np.unique(scope[known])) == 2:
        logits = predictions.out_of_scope_logits[known]
        figures["out_of_scope_accuracy"] = float(((logits > 0) == scope[known]).mean())
        figures["out_of_scope_auc"] = float(roc_auc_score(scope[known], logits))
    return figures


def _share(values: Iterable[bool]) -> float:
    held = list(values)
    return float(np.mean(held)) if held else 0.0

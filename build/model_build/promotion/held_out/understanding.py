"""`understanding` on held-out utterances: intents, slots, sentiment, and what is out of scope.

Each utterance is run by itself: an int8 model scales its activations by what is in the batch, and
so each answer depends on its utterance alone. Answers are compared by the names of their classes,
since versions may number them differently.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_build.data.types import LabelledUtterance
from model_build.parity import INTENT_LABEL
from model_build.promotion.held_out.evaluation import (
    Quality,
    Sample,
    names_in,
    served,
    tokenizer_of,
)
from model_build.promotion.paired import Floats, Scores, compare
from serving.models.repository import PublishedVersion
from serving.steps.outputs import softmax
from serving.steps.understand import decode_slots

Span = tuple[str, int, int]
# By how much a figure may get worse. Few templates have slots, so that F1 is known less well.
MARGINS = {
    "intent_accuracy": 0.03,
    "slot_f1": 0.05,
    "sentiment_accuracy": 0.03,
    "out_of_scope_accuracy": 0.03,
}
_BATCH = 16
_MOST_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a version says about one utterance."""

    intent: str
    # Name, first character, character after the last.
    slots: frozenset[Span]
    sentiment: str
    out_of_scope: bool


class UnderstandingEvaluation:
    """Labelled utterances by the name of their source; the one that counts most comes first."""

    def __init__(self, held_out: Mapping[str, Sequence[LabelledUtterance]]) -> None:
        self._held_out = held_out

    def samples(self, version: PublishedVersion) -> list[Sample]:
        """Utterances of similar length in batches, each with the position of its intent."""
        intents = {name: i for i, name in enumerate(names_in(version, "labels.json", "intents"))}
        tokenizer = tokenizer_of(version)
        utterances = [u for source in self._held_out.values() for u in source]
        step = -(-len(utterances) // _MOST_SAMPLES)
        chosen = sorted(utterances[::step], key=lambda u: len(u.text))
        samples = []
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            texts = [u.text for u in batch]
            labels = [-1 if u.intent is None else intents.get(u.intent, -1) for u in batch]
            inputs = {**tokenizer.encode(texts).inputs(), INTENT_LABEL: np.array(labels, np.int64)}
            samples.append(Sample(inputs=inputs, names=tuple(repr(text) for text in texts)))
        return samples

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """Accuracy of intent, sentiment and scope, and F1 of the slots, for each source."""
        comparisons = []
        lost: dict[str, list[str]] = {}
        basis = []
        for source, utterances in self._held_out.items():
            ours, theirs = answers(candidate, utterances), answers(live, utterances)
            groups = [u.group for u in utterances]
            basis.append(f"{len(utterances)} {source} utterances of {len(set(groups))} groups")
            for name, score in SCORES.items():
                of_ours, of_theirs = score(utterances, ours), score(utterances, theirs)
                if not of_ours.possible.any() or not of_theirs.possible.any():
                    # The source has no such labels.
                    continue
                margin = MARGINS[name]
                if name in lost:
                    name = f"{source}.{name}"
                comparisons.append(compare(name, of_ours, of_theirs, margin=margin, groups=groups))
                worse = np.flatnonzero(_share(of_ours) < _share(of_theirs)).tolist()
                lost[name] = [
                    _describe(utterances[i], ours[i], theirs[i])
                    for i in _spread(worse, [u.intent for u in utterances])
                ]
        return Quality(basis=", ".join(basis), comparisons=tuple(comparisons), lost=lost)


def answers(version: PublishedVersion, utterances: Sequence[LabelledUtterance]) -> list[Answer]:
    """What a version says about each utterance, run one at a time."""
    intents = names_in(version, "labels.json", "intents")
    tags = names_in(version, "labels.json", "slot_tags")
    sentiments = names_in(version, "labels.json", "sentiments")
    tokenizer, run = tokenizer_of(version), served(version)
    found = []
    for utterance in utterances:
        encoded = tokenizer.encode_one(utterance.text)
        outputs = run(encoded.batch().inputs())
        pieces = encoded.pieces()
        logits = outputs["slot_logits"][0][[column for column, _ in pieces]]
        slots = decode_slots(utterance.text, [p for _, p in pieces], softmax(logits), tags)
        found.append(
            Answer(
                intent=intents[int(outputs["intent_logits"][0].argmax())],
                slots=frozenset((s.name, s.start_char, s.end_char) for s in slots),
                sentiment=sentiments[int(outputs["sentiment_logits"][0].argmax())],
                out_of_scope=bool(outputs["out_of_scope_logit"][0, 0] > 0),
            )
        )
    return found


def _intent_accuracy(utterances: Sequence[LabelledUtterance], given: Sequence[Answer]) -> Scores:
    return _accuracy([u.intent for u in utterances], [a.intent for a in given])


def _slot_f1(utterances: Sequence[LabelledUtterance], given: Sequence[Answer]) -> Scores:
    """Micro F1: name and span must be exact. Utterances without labelled slots have no part."""
    gained, possible = np.zeros(len(given)), np.zeros(len(given))
    for i, (utterance, answer) in enumerate(zip(utterances, given, strict=True)):
        if utterance.slots is not None:
            wanted = {(s.name, s.start_char, s.end_char) for s in utterance.slots}
            gained[i] = 2 * len(wanted & answer.slots)
            possible[i] = len(wanted) + len(answer.slots)
    return Scores(gained=gained, possible=possible)


def _sentiment_accuracy(utterances: Sequence[LabelledUtterance], given: Sequence[Answer]) -> Scores:
    return _accuracy(
        [None if u.sentiment is None else u.sentiment.value for u in utterances],
        [a.sentiment for a in given],
    )


def _scope_accuracy(utterances: Sequence[LabelledUtterance], given: Sequence[Answer]) -> Scores:
    return _accuracy([u.out_of_scope for u in utterances], [a.out_of_scope for a in given])


def _accuracy(labels: Sequence[object], given: Sequence[object]) -> Scores:
    """Samples without a label (None) have no part."""
    known = np.array([label is not None for label in labels], np.float64)
    right = [label == said for label, said in zip(labels, given, strict=True)]
    return Scores(gained=known * right, possible=known)


# As the training measures them.
SCORES: dict[str, Callable[[Sequence[LabelledUtterance], Sequence[Answer]], Scores]] = {
    "intent_accuracy": _intent_accuracy,
    "slot_f1": _slot_f1,
    "sentiment_accuracy": _sentiment_accuracy,
    "out_of_scope_accuracy": _scope_accuracy,
}


def _share(scores: Scores) -> Floats:
    """Of each sample; 1 where nothing was possible, since nothing was missed."""
    return np.where(scores.possible > 0, scores.gained / np.maximum(scores.possible, 1.0), 1.0)


def _spread(rows: Sequence[int], kinds: Sequence[str | None]) -> list[int]:
    """The rows with one of each kind in front, then a second of each, and so on."""
    seen: Counter[str | None] = Counter()
    turn: dict[int, int] = {}
    for row in rows:
        turn[row] = seen[kinds[row]]
        seen[kinds[row]] += 1
    return sorted(rows, key=lambda row: turn[row])


def _describe(utterance: LabelledUtterance, ours: Answer, theirs: Answer) -> str:
    wanted = frozenset((s.name, s.start_char, s.end_char) for s in utterance.slots or ())
    labelled = Answer(
        intent=utterance.intent or "-",
        slots=wanted,
        sentiment="-" if utterance.sentiment is None else utterance.sentiment.value,
        out_of_scope=bool(utterance.out_of_scope),
    )
    return (
        f"{utterance.text!r}: {_said(utterance.text, ours)}; "
        f"live: {_said(utterance.text, theirs)}; right: {_said(utterance.text, labelled)}"
    )


def _said(text: str, answer: Answer) -> str:
    if answer.out_of_scope:
        return "out of scope"
    slots = "".join(
        f", {name}={text[start:end]!r}"
        for name, start, end in sorted(answer.slots, key=lambda s: s[1])
    )
    return f"{answer.intent} ({answer.sentiment}){slots}"

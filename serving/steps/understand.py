"""One utterance to its meaning: intent, slots, mood, and whether the shop is meant at all."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.models.client import ModelClient
from serving.models.tokenizer import EncodedText, Tokenizer
from serving.models.word_memory import Piece
from serving.steps.outputs import finite, most_probable, softmax
from serving.types import Sentiment, Slot, Understanding

MODEL = "understanding"
_SENTIMENTS = tuple(Sentiment)


@dataclass(frozen=True, kw_only=True)
class UnderstandInput:
    """What the step is asked."""

    text: str


@dataclass(frozen=True, kw_only=True)
class UnderstandingLabels:
    """Names of the model's classes, and the temperatures that calibrate its logits."""

    intents: tuple[str, ...]
    # "O", "B-<slot>" and "I-<slot>"
    slot_tags: tuple[str, ...]
    sentiments: tuple[str, ...]
    # Logits are divided by it (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    intent_temperature: float
    out_of_scope_temperature: float
    max_length: int


class Understand:
    """Runs the understanding model on one utterance."""

    def __init__(
        self, client: ModelClient, tokenizer: Tokenizer, labels: UnderstandingLabels
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._labels = labels
        self._sentiment_columns = [labels.sentiments.index(s.value) for s in Sentiment]
        self._outside = labels.slot_tags.index("O") if "O" in labels.slot_tags else -1

    async def __call__(self, request: UnderstandInput, context: RequestContext) -> Understanding:
        """Understands one utterance.

        Raises:
            CartwrightError: as `ModelClient.infer`; `ModelContractViolated` also for outputs that
                do not fit the labels.
        """
        labels = self._labels
        encoded = self._tokenizer.encode_one(request.text)
        batch = encoded.batch()
        output = await self._client.infer(MODEL, batch.inputs(), context)
        length = batch.input_ids.shape[1]
        best, confidence = most_probable(
            finite(MODEL, output, "intent_logits", (1, len(labels.intents)))[0],
            labels.intent_temperature,
        )
        tags = finite(MODEL, output, "slot_logits", (1, length, len(labels.slot_tags)))[0]
        moods = _softmax_of_few(
            finite(MODEL, output, "sentiment_logits", (1, len(labels.sentiments)))[0].tolist()
        )
        out_of_scope = finite(MODEL, output, "out_of_scope_logit", (1, 1)).item()
        negative, neutral, positive = (moods[c] for c in self._sentiment_columns)
        probabilities = (negative, neutral, positive)
        best_mood = probabilities.index(max(probabilities))
        return Understanding(
            intent=labels.intents[best],
            intent_confidence=confidence,
            slots=self._slots(request.text, encoded, tags),
            sentiment=_SENTIMENTS[best_mood],
            sentiment_confidence=probabilities[best_mood],
            sentiment_probabilities=probabilities,
            out_of_scope_probability=_sigmoid(out_of_scope / labels.out_of_scope_temperature),
        )

    def _slots(
        self, text: str, encoded: EncodedText, logits: NDArray[np.float32]
    ) -> tuple[Slot, ...]:
        """Slots by the [L, tags] logits; most texts have none, and that is seen at once."""
        # The first and the last token stand for no text; whatever tag they got.
        if set(logits[1:-1].argmax(axis=1).tolist()) <= {self._outside}:
            return ()
        pieces = encoded.pieces()
        return decode_slots(
            text,
            [piece for _, piece in pieces],
            softmax(logits[[column for column, _ in pieces]]),
            self._labels.slot_tags,
        )


def _softmax_of_few(logits: Sequence[float]) -> list[float]:
    """Softmax of a handful of numbers, for which NumPy costs more than the sums."""
    largest = max(logits)
    exponentials = [math.exp(logit - largest) for logit in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def _sigmoid(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * logit))


@dataclass(frozen=True, kw_only=True)
class _Span:
    name: str
    first: int
    # Column after the last piece.
    end: int


def decode_slots(
    text: str,
    pieces: Sequence[Piece],
    probabilities: NDArray[np.float64],
    tags: Sequence[str],
) -> tuple[Slot, ...]:
    """Reads slots off the word pieces' BIO tags.

    The model tags each piece by itself, so a row of tags need not be well formed. It is mended:
    an I- without an open span of its slot begins one, a B- inside a word continues the span that
    the word's earlier pieces began, and an O inside a word does not cut its span in two.

    Args:
        text: what the pieces are spans of.
        pieces: the p word pieces in order.
        probabilities: float64 [p, t], of each tag.
        tags: the t tags, e.g. "O", "B-size", "I-size".

    Returns:
        The slots in order. The confidence is the mean probability, over the span's pieces, that the
        piece belongs to that slot.
    """
    best = [tags[i] for i in probabilities.argmax(axis=1)] if len(pieces) else []
    open_span: _Span | None = None
    spans: list[_Span] = []
    for i, tag in enumerate(best):
        prefix, _, name = tag.partition("-")
        if not name:
            continue
        if open_span is not None and name == open_span.name:
            same_word = pieces[i].word == pieces[open_span.end - 1].word
            if same_word or (prefix == "I" and open_span.end == i):
                open_span = replace(open_span, end=i + 1)
                spans[-1] = open_span
                continue
        open_span = _Span(name=name, first=i, end=i + 1)
        spans.append(open_span)
    slots = []
    for span in spans:
        start, end = _whole(text, pieces[span.first].start_char, pieces[span.end - 1].end_char)
        if start == end:
            continue
        columns = [i for i, tag in enumerate(tags) if tag[2:] == span.name]
        belongs = probabilities[span.first : span.end, columns].sum(axis=1)
        slots.append(
            Slot(
                name=span.name,
                value=text[start:end],
                start_char=start,
                end_char=end,
                confidence=float(min(belongs.mean(), 1.0)),
            )
        )
    return tuple(slots)


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without blanks at its ends, and with the accents that follow its last letter.

    The tokenizer drops combining accents, so they lie behind the last piece's span.
    """
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end

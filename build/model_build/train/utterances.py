"""Labelled utterances -> token ids and labels as arrays, in batches of similar length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_build.data.types import LabelledUtterance, SlotSpan
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.models.tokenizer import Tokenizer
from serving.models.word_memory import Piece
from serving.types import Sentiment

# Label that trains nothing; PyTorch's cross entropy skips it.
NO_LABEL = -100
_SENTIMENTS = tuple(Sentiment)
_INTENT_INDEX = {name: i for i, name in enumerate(INTENT_NAMES)}
_TAG_INDEX = {tag: i for i, tag in enumerate(SLOT_TAGS)}


@dataclass(frozen=True, kw_only=True)
class EncodedUtterance:
    """One utterance as numbers. Labels are `NO_LABEL` where the source has none."""

    source: LabelledUtterance
    # int64 [l], special tokens included, no padding
    input_ids: NDArray[np.int64]
    # int64 [l], BIO tag of each token; special tokens have no label
    tags: NDArray[np.int64]
    # (column, piece) of every token that stands for some of the text
    pieces: tuple[tuple[int, Piece], ...]
    intent: int
    sentiment: int
    out_of_scope: int


@dataclass(frozen=True, kw_only=True)
class UtteranceBatch:
    """Utterances padded on the right to a common length; row i is `rows[i]` of the encoded ones."""

    rows: tuple[int, ...]
    # int64 [n, l]
    input_ids: Tensor
    attention_mask: Tensor
    tags: Tensor
    # int64 [n]
    intent: Tensor
    sentiment: Tensor
    out_of_scope: Tensor


def encode_utterances(
    utterances: Sequence[LabelledUtterance], tokenizer: Tokenizer
) -> list[EncodedUtterance]:
    """Tokenizes as serving does and gives each word piece its tag.

    Raises:
        ValueError: an utterance has an intent or slot that there is not; names it.
    """
    return [_encode(utterance, tokenizer) for utterance in utterances]


def _encode(utterance: LabelledUtterance, tokenizer: Tokenizer) -> EncodedUtterance:
    encoded = tokenizer.encode_one(utterance.text)
    batch, pieces = encoded.batch(), encoded.pieces()
    length = int(batch.attention_mask.sum())
    tags = np.full(length, NO_LABEL, np.int64)
    if utterance.slots is not None:
        for column, _ in pieces:
            tags[column] = _TAG_INDEX["O"]
        for slot in utterance.slots:
            _tag_slot(slot, pieces, tags, utterance.text)
    if utterance.intent is not None and utterance.intent not in _INTENT_INDEX:
        raise ValueError(f"utterance {utterance.text!r}: unknown intent {utterance.intent!r}")
    return EncodedUtterance(
        source=utterance,
        input_ids=batch.input_ids[0, :length],
        tags=tags,
        pieces=tuple(pieces),
        intent=NO_LABEL if utterance.intent is None else _INTENT_INDEX[utterance.intent],
        sentiment=(
            NO_LABEL if utterance.sentiment is None else _SENTIMENTS.index(utterance.sentiment)
        ),
        out_of_scope=(NO_LABEL if utterance.out_of_scope is None else int(utterance.out_of_scope)),
    )


def _tag_slot(
    slot: SlotSpan, pieces: Sequence[tuple[int, Piece]], tags: NDArray[np.int64], text: str
) -> None:
    """B- on the first piece that overlaps the span, I- on the others."""
    prefix = "B"
    for column, piece in pieces:
        if piece.start_char < slot.end_char and piece.end_char > slot.start_char:
            tag = f"{prefix}-{slot.name}"
            if tag not in _TAG_INDEX:
                raise ValueError(f"utterance {text!r}: unknown slot {slot.name!r}")
            tags[column] = _TAG_INDEX[tag]
            prefix = "I"


def batches_by_length(
    encoded: Sequence[EncodedUtterance], batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[UtteranceBatch]:
    """Batches of similar length, so that little is padding.

    With a generator, ties in length are broken at random and the batches come in random order.
    """
    lengths = np.array([len(e.input_ids) for e in encoded], np.float64)
    if rng is not None:
        # Up to a token of noise mixes neighbours from one epoch to the next.
        lengths = lengths + rng.random(len(lengths)) * 1.5
    order = np.argsort(lengths, kind="stable")
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if rng is not None:
        rng.shuffle(groups)
    for group in groups:
        yield collate(encoded, group.tolist())


def collate(encoded: Sequence[EncodedUtterance], rows: Sequence[int]) -> UtteranceBatch:
    """Pads the given rows to a common length."""
    chosen = [encoded[row] for row in rows]
    length = max(len(e.input_ids) for e in chosen)
    input_ids = torch.zeros((len(chosen), length), dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    tags = torch.full_like(input_ids, NO_LABEL)
    for i, e in enumerate(chosen):
        input_ids[i, : len(e.input_ids)] = torch.from_numpy(e.input_ids)
        attention_mask[i, : len(e.input_ids)] = 1
        tags[i, : len(e.tags)] = torch.from_numpy(e.tags)
    return UtteranceBatch(
        rows=tuple(rows),
        input_ids=input_ids,
        attention_mask=attention_mask,
        tags=tags,
        intent=torch.tensor([e.intent for e in chosen]),
        sentiment=torch.tensor([e.sentiment for e in chosen]),
        out_of_scope=torch.tensor([e.out_of_scope for e in chosen]),
    )

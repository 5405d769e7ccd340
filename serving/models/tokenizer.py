"""Texts to model inputs: the tokenizer file that was published with a model.

    texts ─▶ pieces (truncated) ─▶ input_ids, attention_mask [n, L], spans of the pieces

`L` is the length of the longest text and no more: every token is paid for, and the model client
pads calls that it joins (see `serving.triton.batches`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from serving.errors import StartupError
from serving.models.word_memory import Piece, WordMemory, is_plain

# No tokenizer in use makes fewer tokens than one for so many characters of ordinary text. What lies
# beyond `max_length` times this is cut off before the work, which keeps the work bounded.
_CHARS_PER_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """A tokenized batch; row i belongs to text i."""

    # int64 [n, L]
    input_ids: NDArray[np.int64]
    # int64 [n, L]: 1 for tokens, 0 for padding
    attention_mask: NDArray[np.int64]

    def inputs(self) -> dict[str, NDArray[np.int64]]:
        """The tensors by the names of the models' inputs."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


class EncodedText:
    """One tokenized text. The spans are found only when somebody asks for them."""

    __slots__ = ("_batch", "_find")

    def __init__(self, batch: TokenBatch, find: Callable[[], list[tuple[int, Piece]]]) -> None:
        self._batch = batch
        self._find = find

    def batch(self) -> TokenBatch:
        """A batch of one row."""
        return self._batch

    def pieces(self) -> list[tuple[int, Piece]]:
        """(column, piece) of every token that stands for some of the text, in order."""
        return self._find()


class Tokenizer:
    """A `tokenizer.json` with a fixed longest length. Safe to share; makes no copy of its model."""

    def __init__(self, inner: tokenizers.Tokenizer, max_length: int) -> None:
        """Takes over `inner` and sets its truncation and padding.

        Raises:
            StartupError: `max_length` (tokens, special ones included) is not positive, or the file
                has no token to pad with.
        """
        if max_length <= 0:
            raise StartupError(f"max_length: must be positive, got {max_length}")
        pad_token = inner.padding["pad_token"] if inner.padding else "[PAD]"
        pad_id = inner.token_to_id(pad_token)
        if pad_id is None:
            raise StartupError(f"tokenizer.json: has no padding token {pad_token!r}")
        inner.enable_truncation(max_length)
        inner.enable_padding(pad_id=pad_id, pad_token=pad_token)
        self._inner = inner
        self._max_chars = max_length * _CHARS_PER_TOKEN
        self._words = WordMemory.of(inner, max_length)
        # Masks of single texts by their length; they are never written to.
        self._ones = [np.ones((1, length), np.int64) for length in range(max_length + 1)]

    @classmethod
    def from_file(cls, path: Path, max_length: int) -> Self:
        """Reads a tokenizer file.

        Raises:
            StartupError: the file cannot be read or is not a tokenizer.
        """
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        # The library raises nothing more precise.
        except Exception as error:
            raise StartupError(f"{path}: not a tokenizer: {error}") from error
        return cls(inner, max_length)

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenizes a batch, without the spans of its pieces."""
        if len(texts) == 1:
            return self.encode_one(texts[0]).batch()
        return _batch(self._inner.encode_batch_fast([self._safe(text) for text in texts]))

    def encode_one(self, text: str) -> EncodedText:
        """Tokenizes one text; plain ones out of words that came before."""
        if self._words is not None and len(text) <= self._max_chars and is_plain(text):
            ids = self._words.ids(text)
            batch = TokenBatch(
                input_ids=np.array((ids,), np.int64), attention_mask=self._ones[len(ids)]
            )
            return EncodedText(batch, partial(self._words.pieces, text))
        encoding = self._inner.encode(self._safe(text))
        return EncodedText(_batch((encoding,)), partial(_pieces, encoding))

    def _safe(self, text: str) -> str:
        """Text that the library takes: bounded, and each lone surrogate replaced by a "?"."""
        return text[: self._max_chars].encode("utf-8", "replace").decode("utf-8")


def _batch(encodings: Sequence[tokenizers.Encoding]) -> TokenBatch:
    return TokenBatch(
        input_ids=np.array([e.ids for e in encodings], np.int64),
        attention_mask=np.array([e.attention_mask for e in encodings], np.int64),
    )


def _pieces(encoding: tokenizers.Encoding) -> list[tuple[int, Piece]]:
    return [
        (column, Piece(start_char=start, end_char=end, word=word))
        for column, (word, (start, end)) in enumerate(
            zip(encoding.word_ids, encoding.offsets, strict=True)
        )
        if word is not None and start < end
    ]

"""Token ids of plain texts out of their words, without asking the tokenizer again.

BERT's rules (clean, lower-case, split at blanks and punctuation, then WordPiece) treat what lies
between two blanks by itself. So the ids of a text are those of its words one after the other, and
shops' customers use few words. Plain means printable ASCII without square brackets: there blanks
are blanks and nothing is dropped between words; "[SEP]" in a text is a token of its own.
"""

import functools
from typing import Self

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

# The least recently used are forgotten.
_WORDS_KEPT = 65_536
# A longer "word" is nothing that comes again.
_LONGEST_WORD = 64


def is_plain(text: str) -> bool:
    """Whether a text's words can be looked up one by one."""
    return text.isascii() and text.isprintable() and "[" not in text


class WordMemory:
    """Ids of the words of one tokenizer."""

    def __init__(self, inner: tokenizers.Tokenizer, max_length: int) -> None:
        """Remembers nothing yet; `inner` must follow BERT's rules."""
        bare = inner.encode("a", add_special_tokens=False).ids
        whole = inner.encode("a").ids
        at = whole.index(bare[0])
        self._before = tuple(whole[:at])
        self._after = tuple(whole[at + len(bare) :])
        self._max_length = max_length
        self._room = max_length - len(self._before) - len(self._after)
        self._inner = inner
        self._remembered = functools.lru_cache(_WORDS_KEPT)(self._ids_of_word)

    def __reduce__(self) -> tuple[type[Self], tuple[tokenizers.Tokenizer, int]]:
        """Pickles without what is remembered."""
        return type(self), (self._inner, self._max_length)

    @classmethod
    def of(cls, inner: tokenizers.Tokenizer, max_length: int) -> Self | None:
        """The memory of a tokenizer; None if it does not follow BERT's rules."""
        follows = (
            isinstance(inner.normalizer, normalizers.BertNormalizer)
            and isinstance(inner.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            and isinstance(inner.model, models.WordPiece)
            and (inner.truncation or {}).get("direction", "right") == "right"
        )
        return cls(inner, max_length) if follows and max_length > 2 else None

    def ids(self, text: str) -> list[int]:
        """Token ids of a plain text, truncated, special tokens included."""
        ids = [*self._before]
        for word in text.split(" "):
            if word:
                ids += (
                    self._remembered(word)
                    if len(word) <= _LONGEST_WORD
                    else self._ids_of_word(word)
                )
        if len(ids) - len(self._before) > self._room:
            del ids[len(self._before) + self._room :]
        ids += self._after
        return ids

    def _ids_of_word(self, word: str) -> tuple[int, ...]:
        return tuple(self._inner.encode(word, add_special_tokens=False).ids)

"""Token ids of plain texts, without asking the tokenizer library.

BERT's rules (clean, lower-case, split at blanks and punctuation, then WordPiece) treat each word
and each mark by itself. So the ids of a text are those of its pieces one after the other; most
pieces came before and are remembered, and the rest take a few look-ups in the vocabulary. The
library does the same, but lets go of Python's lock for it and has to wait to get it back: under
load that costs several times the work. Plain means printable ASCII without square brackets: there
nothing is dropped between words, and "[SEP]" in a text is a token of its own. Everything else goes
to the library, and a property test holds the two against each other.

WordPiece: Schuster and Nakajima, "Japanese and Korean voice search", 2012; longest match first.
"""

import functools
import re
from typing import NamedTuple, Self

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

# The least recently used are forgotten.
_WORDS_KEPT = 65_536
_WORDS = re.compile(r"[a-z0-9]+|[^a-z0-9 ]")


class Piece(NamedTuple):
    """One word piece of a text: half-open span in code points, and the word that it is part of."""

    start_char: int
    end_char: int
    word: int


def is_plain(text: str) -> bool:
    """Whether a text can be taken apart here."""
    return text.isascii() and text.isprintable() and "[" not in text


class WordMemory:
    """Ids of the words of one tokenizer."""

    def __init__(self, inner: tokenizers.Tokenizer, max_length: int) -> None:
        """Remembers nothing yet; `inner` must follow BERT's rules (see `of`)."""
        bare = inner.encode("a", add_special_tokens=False).ids
        whole = inner.encode("a").ids
        at = whole.index(bare[0])
        self._before = tuple(whole[:at])
        self._after = tuple(whole[at + len(bare) :])
        self._max_length = max_length
        self._inner = inner
        self._vocabulary: dict[str, int] = inner.get_vocab(with_added_tokens=False)
        self._prefix: str = inner.model.continuing_subword_prefix
        self._unknown = self._vocabulary[inner.model.unk_token]
        self._longest_word: int = inner.model.max_input_chars_per_word
        self._remembered = functools.lru_cache(_WORDS_KEPT)(self._wordpiece)

    def __reduce__(self) -> tuple[type[Self], tuple[tokenizers.Tokenizer, int]]:
        """Pickles without what is remembered."""
        return type(self), (self._inner, self._max_length)

    @classmethod
    def of(cls, inner: tokenizers.Tokenizer, max_length: int) -> Self | None:
        """The memory of a tokenizer; None if it does not follow BERT's rules."""
        follows = (
            isinstance(inner.normalizer, normalizers.BertNormalizer)
            and inner.normalizer.lowercase
            and isinstance(inner.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            and isinstance(inner.model, models.WordPiece)
            and (inner.truncation or {}).get("direction", "right") == "right"
        )
        return cls(inner, max_length) if follows and max_length > 2 else None

    def ids(self, text: str) -> list[int]:
        """Token ids of a plain text, truncated, special tokens included."""
        ids = [*self._before]
        remembered = self._remembered
        for word in _WORDS.findall(text.lower()):
            ids += remembered(word)[0]
        room = self._max_length - len(self._after)
        if len(ids) > room:
            del ids[room:]
        ids += self._after
        return ids

    def pieces(self, text: str) -> list[tuple[int, Piece]]:
        """(column, piece) of the tokens of a plain text, truncated, without the special ones."""
        first = len(self._before)
        found: list[tuple[int, Piece]] = []
        for number, word in enumerate(_WORDS.finditer(text.lower())):
            start = begun = word.start()
            for end in self._remembered(word[0])[1]:
                found.append((first + len(found), Piece(begun, start + end, number)))
                begun = start + end
        del found[self._max_length - first - len(self._after) :]
        return found

    def _wordpiece(self, word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of a word's pieces and where each ends: the longest known beginning, and so on."""
        vocabulary = self._vocabulary
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        while start < len(word) <= self._longest_word:
            prefix = self._prefix if start else ""
            for end in range(len(word), start, -1):
                found = vocabulary.get(prefix + word[start:end])
                if found is not None:
                    break
            else:
                break
            ids.append(found)
            ends.append(end)
            start = end
        if start < len(word):
            # Too long, or spelt with something unknown: one token for all of it.
            return (self._unknown,), (len(word),)
        return tuple(ids), tuple(ends)

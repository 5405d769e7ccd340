"""A text as a word query of FTS5, SQLite's full-text search."""

import re

from serving.words import STOP_WORDS

# The first so many different words of a text are searched for.
MOST_WORDS = 64

# FTS5's tokenizer, too, takes the underscore as a gap between words.
_WORD = re.compile(r"[^\W_]+")


def word_query(text: str) -> str:
    """The query for the words of a text but for stop words, any of which may match.

    Every word is quoted, so that none is read as an operator. Empty if no word is left.
    """
    words: dict[str, str] = {}
    for match in _WORD.finditer(text):
        folded = match.group().casefold()
        if folded not in STOP_WORDS and folded not in words:
            # As it was written: the tokenizer folds case by its own rules ("ß" stays "ß").
            words[folded] = match.group()
            if len(words) == MOST_WORDS:
                break
    return " OR ".join(f'"{word}"' for word in words.values())

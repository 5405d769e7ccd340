"""Reads descriptions such as "SET OF 3 RED RETROSPOT CAKE TINS": title, category, colours."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from model_build.data.tables import read_table

_FILE = "retail_categories.toml"
_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
_SMALL_WORDS = frozenset({"of", "with", "and", "in", "for", "the", "to", "on", "a"})


def title_of(description: str) -> str:
    """The description with the capitals of a title: "Set of 3 Red Retrospot Cake Tins"."""
    words = description.split()
    return " ".join(
        word.lower() if position and word.lower() in _SMALL_WORDS else _capitalised(word)
        for position, word in enumerate(words)
    )


def _capitalised(word: str) -> str:
    return "-".join(part[:1].upper() + part[1:].lower() for part in word.split("-"))


def colours_of(description: str) -> tuple[str, ...]:
    """Colours named in the description, each once."""
    known = read_table("phrases/words.toml")["colours"]
    words = (word.lower() for word in _WORD.findall(description))
    return tuple(dict.fromkeys(word for word in words if word in known))


def category_of(description: str) -> str:
    """Category path by the first rule of `retail_categories.toml` that knows a word."""
    words = [word.lower() for word in _WORD.findall(description)]
    # Plurals in "s" count as their singular, and words in a row as one.
    forms = {*words, *(word.removesuffix("s") for word in words)}
    for first, second in pairwise(words):
        forms |= {f"{first} {second}", f"{first} {second.removesuffix('s')}"}
    forms |= {part for word in words for part in word.split("-")}
    for rule in _rules():
        if forms & rule.words:
            return rule.category
    return str(read_table(_FILE)["fallback"])


@dataclass(frozen=True, kw_only=True)
class _Rule:
    category: str
    words: frozenset[str]


@cache
def _rules() -> tuple[_Rule, ...]:
    return tuple(
        _Rule(category=entry["category"], words=frozenset(entry["words"]))
        for entry in read_table(_FILE)["rule"]
    )

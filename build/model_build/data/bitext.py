"""Bitext's customer-service utterances: two samples -> labelled utterances in honest groups.

The utterances were generated from few seed texts by wrapping them ("could you help me ...",
"ask an agent how ..."), so a random split has nearly the same text on both sides. Here a `group`
is an intent and the set of content stems of an utterance: frames, politeness, expletives, function
words and inflection are taken away, and misspelled words are set right first. All wrappings of
"cancel the last order" are thus one group, held out together or not at all.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model_build.data.csv_rows import DataError, read_rows
from model_build.data.tables import read_table
from model_build.data.types import LabelledUtterance
from serving.dialogue.intents import INTENTS

FILES = ("bitext_8k.csv.gz", "bitext_20k.csv.gz")
_COLUMNS = ("flags", "utterance", "category", "intent")
# Where the set's name of an intent is not ours.
_OUR_NAME = {"check_invoices": "check_invoice"}
_WORD = re.compile(r"[a-z]+")
# A word that is rarer is taken for a misspelled one.
_USUAL_COUNT = 20


@dataclass(frozen=True, kw_only=True)
class _Row:
    text: str
    intent: str


def load_bitext(folder: Path) -> tuple[LabelledUtterance, ...]:
    """Both samples under `folder`/bitext, each text once; slots and sentiment have no label.

    A text that stands there with two intents says nothing about either and is left out.

    Raises:
        DataError: a file is missing or malformed, or names an unknown intent.
    """
    intents_of: dict[str, set[str]] = {}
    rows: dict[str, _Row] = {}
    for name in FILES:
        path = folder / "bitext" / name
        for line, (_, utterance, _, label) in read_rows(path, _COLUMNS):
            text = " ".join(utterance.split())
            intent = _OUR_NAME.get(label, label)
            if not text:
                raise DataError.at(path, line, "utterance", "it is empty")
            if intent not in INTENTS:
                raise DataError.at(path, line, "intent", f"no such intent: {label!r}")
            rows.setdefault(text.lower(), _Row(text=text, intent=intent))
            intents_of.setdefault(text.lower(), set()).add(intent)
    kept = [row for key, row in rows.items() if len(intents_of[key]) == 1]
    stems = _Stems(row.text for row in kept)
    return tuple(
        LabelledUtterance(
            text=row.text,
            intent=row.intent,
            slots=None,
            sentiment=None,
            out_of_scope=False,
            group=f"{row.intent}: {stems.key(row.text)}",
        )
        for row in kept
    )


class _Stems:
    """Content stems of texts; misspelled words are mapped to usual words of the same texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in _words(text))
        self._usual = {word for word, count in counts.items() if count >= _USUAL_COUNT}
        self._near: dict[str, str] = {}
        for word in sorted(self._usual, key=lambda w: (counts[w], w)):
            # The most frequent word is written last and wins.
            for variant in _variants(word):
                self._near[variant] = word
        self._frame_words = frozenset(read_table("phrases/frames.toml")["words"])
        self._known = self._usual | self._frame_words
        self._known_stems = {_stem(word) for word in self._usual}
        self._corrected = cache(self._correct)

    def key(self, text: str) -> str:
        """Sorted content stems, joined by spaces; "(none)" if nothing but a frame is left."""
        stems = {
            _stem(word)
            for raw in _words(text)
            for word in self._corrected(raw)
            if word not in self._frame_words
        }
        return " ".join(sorted(stems)) or "(none)"

    def _correct(self, word: str) -> tuple[str, ...]:
        """The usual word or two words that `word` was meant to be; nothing if there is none."""
        if word in self._known or _stem(word) in self._known_stems:
            return (word,)
        for at in range(1, len(word)):
            if word[:at] in self._known and word[at:] in self._known:
                return (word[:at], word[at:])
        for variant in _variants(word):
            if near := self._near.get(variant):
                return (near,)
        return ()


def _stem(word: str) -> str:
    """The word without a usual ending: "cancelled", "canceling" and "cancel" are one."""
    for ending in ("ations", "ation", "ings", "ing", "ied", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("'", "").replace("’", ""))


def _variants(word: str) -> tuple[str, ...]:
    """The word and what is left of it without any one letter: slips of one letter share one."""
    if len(word) < 4:
        return (word,)
    # In an order of their own: a set's would change from process to process, and the first counts.
    return (word, *(word[:at] + word[at + 1 :] for at in range(len(word))))

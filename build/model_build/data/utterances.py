"""Labelled utterances of the synthetic shop: templates -> words around them -> typing.

Templates lie in `phrases/*.toml`, one way of saying something a line; a template is a `group`, so
that held-out utterances are said in ways that training never saw.
"""

import itertools
import re
from dataclasses import dataclass, fields

import numpy as np

from model_build.data.gibberish import make_gibberish
from model_build.data.grammar import Piece, Template, expand, parse
from model_build.data.noise import type_out
from model_build.data.slot_values import SlotValues
from model_build.data.tables import TableError, read_table
from model_build.data.types import LabelledUtterance, Shop
from serving.dialogue.intents import INTENT_NAMES
from serving.types import Sentiment

_FILES = ("order", "payment", "delivery", "account", "product", "contact")
_OUT_OF_SCOPE = "out_of_scope"
# Out-of-scope utterances for each one of an intent, gibberish among them.
OUT_OF_SCOPE_FACTOR = 8
_GIBBERISH_SHARE = 0.06
_OPENING_SHARE = 0.18
_ENDING_SHARE = 0.18
_NEGATIVE_SHARE = 0.16
_POSITIVE_SHARE = 0.09
# A mood that the template has already is said once more so often.
_STRESSED_SHARE = 0.3
# What follows a request is a sentence of its own so often, after one of these.
_OWN_SENTENCE_SHARE = 0.45
_MARKS = (".", "!", "...", "!!")
# Nobody is cheerful about these.
_NEVER_POSITIVE = frozenset(
    {
        "complaint",
        "payment_issue",
        "registration_problems",
        "get_refund",
        "track_refund",
        "delete_account",
    }
)
# Said as they are; who gives a bare answer or takes leave may still be angry.
_BARE = frozenset({"greeting", "thanks", "goodbye", "give_information"})
_BARE_BUT_ANGRY = frozenset({"goodbye", "give_information"})
# A new text is looked for so often before a known one is said again.
_ATTEMPTS = 15


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """One line of a phrases file."""

    group: str
    template: Template
    sentiment: Sentiment


@dataclass(frozen=True, kw_only=True)
class _Moods:
    """What stands around a request, by its name in moods.toml."""

    openings: tuple[Template, ...]
    endings: tuple[Template, ...]
    negative_before: tuple[Template, ...]
    negative_after: tuple[Template, ...]
    positive_before: tuple[Template, ...]
    positive_after: tuple[Template, ...]


def synthetic_utterances(
    shop: Shop, rng: np.random.Generator, per_intent: int
) -> tuple[LabelledUtterance, ...]:
    """Utterances for every intent and out-of-scope talk, each with all of its labels.

    A text stands in one group only. Within a group it may be said twice when the template has no
    more to say.

    Args:
        shop: products, colours, sizes and order numbers to speak about.
        rng: says which.
        per_intent: utterances of each intent; out of scope are `OUT_OF_SCOPE_FACTOR` times as many.

    Raises:
        TableError: a phrases file is malformed.
        ValueError: `per_intent` is below 1.
    """
    if per_intent < 1:
        raise ValueError(f"per_intent must be at least 1, got {per_intent}")
    values = SlotValues(shop)
    speaker = _Speaker(values, rng)
    patterns: dict[str, list[_Pattern]] = {}
    for file in _FILES:
        patterns |= _read_patterns(f"phrases/{file}.toml", values)
    made: list[LabelledUtterance] = []
    for intent in INTENT_NAMES:
        made.extend(speaker.say(patterns[intent], intent, per_intent))
    count = per_intent * OUT_OF_SCOPE_FACTOR
    gibberish = round(count * _GIBBERISH_SHARE)
    kinds = _read_patterns(f"phrases/{_OUT_OF_SCOPE}.toml", values)
    made.extend(speaker.say(list(itertools.chain(*kinds.values())), None, count - gibberish))
    made.extend(speaker.mumble(gibberish))
    return tuple(made)


def _read_patterns(file: str, values: SlotValues) -> dict[str, list[_Pattern]]:
    """Templates of a phrases file by its keys; a leading "- " or "+ " is a sentiment."""
    patterns: dict[str, list[_Pattern]] = {}
    signs = {"- ": Sentiment.NEGATIVE, "+ ": Sentiment.POSITIVE}
    for key, texts in read_table(file).items():
        patterns[key] = []
        for number, text in enumerate(texts, start=1):
            sentiment = signs.get(text[:2], Sentiment.NEUTRAL)
            template = parse(text if sentiment == Sentiment.NEUTRAL else text[2:])
            values.check(template, f"{file}: {key}, line {number}")
            patterns[key].append(
                _Pattern(group=f"{key}/{number:02d}", template=template, sentiment=sentiment)
            )
    return patterns


def _read_moods(values: SlotValues) -> _Moods:
    file = "phrases/moods.toml"
    templates: dict[str, tuple[Template, ...]] = {}
    for field in fields(_Moods):
        templates[field.name] = tuple(parse(text) for text in read_table(file)[field.name])
        for template in templates[field.name]:
            values.check(template, f"{file}: {field.name}")
    return _Moods(**templates)


class _Speaker:
    """Says patterns in moods, and keeps any one text from standing in two groups."""

    def __init__(self, values: SlotValues, rng: np.random.Generator) -> None:
        self._values = values
        self._rng = rng
        self._moods = _read_moods(values)
        self._group_of: dict[str, str] = {}

    def say(
        self, patterns: list[_Pattern], intent: str | None, count: int
    ) -> list[LabelledUtterance]:
        """`count` utterances, each pattern about equally often."""
        made: list[LabelledUtterance] = []
        silent = 0
        for pattern in itertools.cycle(patterns):
            if len(made) == count:
                break
            utterance = self._new(pattern, intent)
            silent = silent + 1 if utterance is None else 0
            if silent > len(patterns):
                raise TableError(f"{pattern.group}: other templates say all of it already")
            if utterance is not None:
                made.append(utterance)
        return made

    def mumble(self, count: int) -> list[LabelledUtterance]:
        """`count` different utterances without meaning; each is a group of its own."""
        made: list[LabelledUtterance] = []
        while len(made) < count:
            group = f"gibberish/{len(made)}"
            text = make_gibberish(self._rng)
            if self._group_of.setdefault(_key(text), group) == group:
                made.append(
                    LabelledUtterance(
                        text=text,
                        intent=None,
                        slots=(),
                        sentiment=Sentiment.NEUTRAL,
                        out_of_scope=True,
                        group=group,
                    )
                )
        return made

    def _new(self, pattern: _Pattern, intent: str | None) -> LabelledUtterance | None:
        """An utterance not said before, or else one that this pattern said before, or else None."""
        repeated: LabelledUtterance | None = None
        for _ in range(_ATTEMPTS):
            utterance = self._attempt(pattern, intent)
            key = _key(utterance.text)
            group = self._group_of.get(key)
            if group is None:
                self._group_of[key] = pattern.group
                return utterance
            if group == pattern.group:
                repeated = utterance
        return repeated

    def _attempt(self, pattern: _Pattern, intent: str | None) -> LabelledUtterance:
        sentiment = self._sentiment(pattern, intent)
        pieces = core = self._expand(pattern.template)
        if sentiment != Sentiment.NEUTRAL and (
            sentiment != pattern.sentiment or self._rng.random() < _STRESSED_SHARE
        ):
            pieces = self._in_mood(pieces, sentiment, only_after=intent in _BARE)
        elif intent not in _BARE:
            if self._rng.random() < _OPENING_SHARE:
                pieces = [*self._one_of(self._moods.openings), *pieces]
            if self._rng.random() < _ENDING_SHARE:
                pieces = [*pieces, *self._one_of(self._moods.endings)]
        text, slots = type_out(pieces, self._rng, asks=pieces[-1] is core[-1])
        return LabelledUtterance(
            text=text,
            intent=intent,
            slots=slots,
            sentiment=sentiment,
            out_of_scope=intent is None,
            group=pattern.group if intent else f"{_OUT_OF_SCOPE}/{pattern.group}",
        )

    def _sentiment(self, pattern: _Pattern, intent: str | None) -> Sentiment:
        """The pattern's own sentiment, or a random one if it has none and the intent allows it."""
        # Moods speak about the shop, which out-of-scope talk does not.
        if pattern.sentiment != Sentiment.NEUTRAL or intent is None:
            return pattern.sentiment
        draw = self._rng.random()
        if draw < _NEGATIVE_SHARE and (intent not in _BARE or intent in _BARE_BUT_ANGRY):
            return Sentiment.NEGATIVE
        if draw > 1.0 - _POSITIVE_SHARE and intent not in _BARE | _NEVER_POSITIVE:
            return Sentiment.POSITIVE
        return Sentiment.NEUTRAL

    def _in_mood(
        self, pieces: list[Piece], sentiment: Sentiment, *, only_after: bool
    ) -> list[Piece]:
        negative = sentiment == Sentiment.NEGATIVE
        before = self._moods.negative_before if negative else self._moods.positive_before
        after = self._moods.negative_after if negative else self._moods.positive_after
        if only_after or self._rng.random() < 0.5:
            said = self._one_of(after)
            if said[0].text.startswith(", ") and self._rng.random() < _OWN_SENTENCE_SHARE:
                mark = _MARKS[int(self._rng.integers(len(_MARKS)))]
                said = [Piece(mark), Piece(said[0].text[1:]), *said[1:]]
            return [*pieces, *said]
        return [*self._one_of(before), *pieces]

    def _one_of(self, templates: tuple[Template, ...]) -> list[Piece]:
        return self._expand(templates[int(self._rng.integers(len(templates)))])

    def _expand(self, template: Template) -> list[Piece]:
        return expand(template, self._rng, self._values.fill)


def _key(text: str) -> str:
    """Equal for texts that differ in case and signs alone."""
    return " ".join(re.findall(r"\w+", text.lower())) or text

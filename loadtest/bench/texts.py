"""The utterances that everything is measured on: of real length, and each one different.

They come from the grammar of the synthetic shop with a seed that training never uses. Three in ten
are two utterances about different things joined into one, because customers who write more than one
sentence exist; what has fewer than 4 or more than 25 words is left out. That gives 11 words in the
mean, half of the texts between 7 and 14, and 17 tokens in the mean, the two special ones included.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_build.data.shop import synthetic_shop
from model_build.data.utterances import OUT_OF_SCOPE_FACTOR, synthetic_utterances
from serving.dialogue.intents import INTENT_NAMES

FEWEST_WORDS = 4
MOST_WORDS = 25
JOINED_SHARE = 0.3
# Made for each text that is wanted: some are too short, some are there already.
_SURPLUS = 1.6
# Few, because only order numbers come of it.
_CUSTOMERS, _ORDERS = 300, 200
_SENTENCE_ENDS = ".?!"


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """Distinct utterances in random order."""

    seed: int
    texts: tuple[str, ...]

    def digest(self) -> str:
        """Says whether two runs used the same texts; 16 hex digits."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()[:16]

    def word_counts(self) -> dict[int, int]:
        """How many texts there are of each length in words."""
        lengths, counts = np.unique([len(text.split()) for text in self.texts], return_counts=True)
        return {int(n): int(count) for n, count in zip(lengths, counts, strict=True)}


def make_texts(count: int, seed: int) -> TextSet:
    """Makes `count` different utterances.

    Raises:
        ValueError: `count` is below 1, or the grammar has not so much to say.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    rng = np.random.default_rng([seed, count])
    per_intent = int(count * _SURPLUS / (len(INTENT_NAMES) + OUT_OF_SCOPE_FACTOR)) + 8
    shop = synthetic_shop(seed, customers=_CUSTOMERS, orders=_ORDERS)
    spoken = [utterance.text for utterance in synthetic_utterances(shop, rng, per_intent)]
    rng.shuffle(spoken)
    fitting = dict.fromkeys(
        text for text in _join_some(spoken, rng) if FEWEST_WORDS <= len(text.split()) <= MOST_WORDS
    )
    if len(fitting) < count:
        raise ValueError(f"{count} texts asked for, but the grammar gave {len(fitting)}")
    return TextSet(seed=seed, texts=tuple(fitting)[:count])


def _join_some(spoken: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Joins a share of the texts with their successors, as two sentences."""
    texts = []
    rest = iter(spoken)
    for text in rest:
        second = next(rest, "") if rng.random() < JOINED_SHARE else ""
        if second:
            end = "" if text[-1] in _SENTENCE_ENDS else "."
            texts.append(f"{text}{end} {second}")
        else:
            texts.append(text)
    return texts

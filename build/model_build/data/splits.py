"""Splits of data into training and held-out parts that do not flatter a model."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from model_build.data.types import Interaction, LabelledUtterance, UtteranceSplit

_OUT_OF_SCOPE = "(out of scope)"


def split_by_group(
    utterances: Sequence[LabelledUtterance], held_out_share: float, rng: np.random.Generator
) -> UtteranceSplit:
    """Splits by group, so that no template or seed text stands on both sides.

    Every intent, and out-of-scope talk, is on both sides; of each about `held_out_share` of the
    utterances is held out, as closely as whole groups allow. The order of each side is that of
    `utterances`.

    Raises:
        ValueError: the share does not lie in (0, 1), or an intent has fewer than two groups.
    """
    if not 0.0 < held_out_share < 1.0:
        raise ValueError(f"held_out_share must lie in (0, 1), got {held_out_share}")
    size_of: dict[str, int] = defaultdict(int)
    intent_of: dict[str, str] = {}
    for utterance in utterances:
        size_of[utterance.group] += 1
        intent_of.setdefault(utterance.group, utterance.intent or _OUT_OF_SCOPE)
    groups_of: dict[str, list[str]] = defaultdict(list)
    for group, intent in intent_of.items():
        groups_of[intent].append(group)
    held_out: set[str] = set()
    for intent in sorted(groups_of):
        groups = groups_of[intent]
        if len(groups) < 2:
            raise ValueError(f"intent {intent}: one group only, it cannot be split")
        held_out |= _choose(groups, size_of, held_out_share, rng)
    return UtteranceSplit(
        train=tuple(u for u in utterances if u.group not in held_out),
        held_out=tuple(u for u in utterances if u.group in held_out),
    )


def _choose(
    groups: list[str], size_of: dict[str, int], share: float, rng: np.random.Generator
) -> set[str]:
    """Random groups that together come close to the share; never none and never all."""
    wanted = share * sum(size_of[g] for g in groups)
    chosen: set[str] = set()
    taken = 0
    for position in rng.permutation(len(groups)).tolist():
        group = groups[position]
        # Taken if that brings the sum closer to what is wanted.
        if abs(taken + size_of[group] - wanted) < abs(taken - wanted):
            chosen.add(group)
            taken += size_of[group]
    if not chosen:
        chosen.add(min(groups, key=lambda g: (size_of[g], g)))
    if len(chosen) == len(groups):
        chosen.remove(max(groups, key=lambda g: (size_of[g], g)))
    return chosen


def split_interactions_by_time(
    interactions: Sequence[Interaction], held_out_share: float
) -> tuple[tuple[Interaction, ...], tuple[Interaction, ...]]:
    """Splits at a moment: (everything before it, everything from it on).

    The moment is the start of the basket in which the last `held_out_share` of the interactions
    begins. A basket that began before it stays whole in the first part.

    Raises:
        ValueError: the share does not lie in (0, 1), or a side would be empty.
    """
    if not 0.0 < held_out_share < 1.0:
        raise ValueError(f"held_out_share must lie in (0, 1), got {held_out_share}")
    ordered = sorted(interactions, key=lambda i: i.occurred_at_ms)
    begins_at: dict[str, int] = {}
    for interaction in ordered:
        begins_at.setdefault(interaction.basket_id, interaction.occurred_at_ms)
    position = math.ceil(len(ordered) * (1.0 - held_out_share))
    if not 0 < position < len(ordered):
        raise ValueError(f"{len(ordered)} interactions cannot be split at {held_out_share}")
    moment = begins_at[ordered[position].basket_id]
    train = tuple(i for i in ordered if begins_at[i.basket_id] < moment)
    if not train:
        raise ValueError("all interactions lie in one basket")
    return train, tuple(i for i in ordered if begins_at[i.basket_id] >= moment)

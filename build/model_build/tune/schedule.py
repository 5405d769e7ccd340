"""How the time of a sweep is spent: a short look at every point, longer looks at those left."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Load that is not counted, at the start of each look.
LEAD_IN_S = 0.25
SHORTEST_LOOK_S = 0.4
# What disturbs a machine comes in bursts of seconds: many looks say more than long ones.
_ENOUGH_S = 1.0
LONGEST_LOOK_S = 2.0
_FEW_PASSES = 3
# A point is looked at beside others; after so many of them the calibration is repeated.
_PER_CALIBRATION = 4
_SHRINK = 4
_FEWEST_FINALISTS = 4
# Share of the time, by the number of stages and stage.
_SHARES = {1: (1.0,), 2: (0.5, 0.5), 3: (0.45, 0.25, 0.3)}
_MOST_PASSES = {1: (15,), 2: (2, 15), 3: (2, 3, 15)}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of successive halving."""

    # Points looked at, beside the one that calibrates.
    points: int
    # How often each is looked at; a pass visits all of them in a new order.
    passes: int
    # Length of the look at the stated concurrency.
    look_s: float
    # Whether the other concurrencies are looked at too, each half as long.
    all_levels: bool

    def seconds(self, load_s: float, levels: int) -> float:
        """How long the stage takes.

        Args:
            load_s: time to load one point.
            levels: concurrencies in all.
        """
        look_s = self.look_s + LEAD_IN_S
        looks = (self.points + calibrations(self.points)) * self.passes
        others = (levels - 1) * (self.look_s / 2 + LEAD_IN_S) if self.all_levels else 0.0
        return looks * look_s + (self.points + 1) * (self.passes * others + load_s)


def calibrations(points: int) -> int:
    """Looks at the calibrating point in one pass over so many others."""
    return 1 + ceil(points / _PER_CALIBRATION)


def sizes(points: int) -> tuple[int, ...]:
    """How many points each stage has, the first all of them."""
    found = [points]
    while len(found) < max(_SHARES) and found[-1] > _FEWEST_FINALISTS:
        found.append(max(_FEWEST_FINALISTS, ceil(found[-1] / _SHRINK)))
    return tuple(found)


def plan(points: int, seconds: float, load_s: float, levels: int) -> tuple[Stage, ...]:
    """The stages of a sweep that ends within `seconds`.

    Args:
        points: to be looked at, beside the one that calibrates.
        seconds: for everything.
        load_s: time to load one point.
        levels: concurrencies in all; the others are looked at from the second stage on.

    Raises:
        ValueError: the time is too short for so many points; says how much they need.
    """
    counts = sizes(points)
    stages: list[Stage] = []
    needed_s = 0.0
    for index, (count, share, passes) in enumerate(
        zip(counts, _SHARES[len(counts)], _MOST_PASSES[len(counts)], strict=True)
    ):
        stage = fitted(
            count,
            passes,
            seconds * share,
            load_s,
            levels,
            all_levels=index > 0 or len(counts) == 1,
            # The choice is made of medians.
            fewest=_FEW_PASSES if index == len(counts) - 1 else 1,
        )
        needed_s = max(needed_s, stage.seconds(load_s, levels) / share)
        stages.append(stage)
    if needed_s > seconds * (1 + 1e-9):
        raise ValueError(f"{points} points need at least {needed_s / 60:.1f} minutes")
    return tuple(stages)


def fitted(
    points: int,
    passes: int,
    seconds: float,
    load_s: float,
    levels: int,
    *,
    all_levels: bool,
    fewest: int = 1,
) -> Stage:
    """A stage that takes `seconds`: as many of the passes as fit with looks that are long enough.

    The `fewest` passes are planned in any case, so that it may take longer.
    """
    for some in range(passes, fewest - 1, -1):
        stage = Stage(points=points, passes=some, look_s=0.0, all_levels=all_levels)
        spare_s = seconds - stage.seconds(load_s, levels)
        one = Stage(points=points, passes=some, look_s=1.0, all_levels=all_levels)
        per_second = one.seconds(load_s, levels) - stage.seconds(load_s, levels)
        look_s = spare_s / per_second
        if look_s >= (_ENOUGH_S if some > _FEW_PASSES else SHORTEST_LOOK_S):
            break
    look_s = min(LONGEST_LOOK_S, max(SHORTEST_LOOK_S, look_s))
    return Stage(points=points, passes=some, look_s=look_s, all_levels=all_levels)


def most_points(seconds: float, load_s: float, levels: int) -> int:
    """How many points a sweep of `seconds` can look at; 0 if none."""
    low, high = 0, max(1, floor(seconds / (SHORTEST_LOOK_S + LEAD_IN_S)))
    while low < high:
        middle = (low + high + 1) // 2
        try:
            plan(middle, seconds, load_s, levels)
        except ValueError:
            high = middle - 1
        else:
            low = middle
    return low


def visits(points: Sequence[T], calibrating: T, rng: np.random.Generator) -> list[T]:
    """The order of one pass: shuffled, with the calibrating point first, last and in between."""
    order = [points[i] for i in rng.permutation(len(points))]
    blocks = calibrations(len(points)) - 1
    visited = [calibrating]
    for block in range(blocks):
        visited += order[block * len(order) // blocks : (block + 1) * len(order) // blocks]
        visited.append(calibrating)
    return visited

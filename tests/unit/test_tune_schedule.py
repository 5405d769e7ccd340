"""How a sweep spends its time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model_build.tune.schedule import (
    LONGEST_LOOK_S,
    SHORTEST_LOOK_S,
    calibrations,
    fitted,
    most_points,
    plan,
    sizes,
    visits,
)

POINTS = st.integers(0, 200)
SECONDS = st.floats(1, 3600)
LOAD_S = st.floats(0, 5)
LEVELS = st.integers(1, 5)


@settings(max_examples=40)
@given(POINTS, SECONDS, LOAD_S, LEVELS)
def test_a_plan_keeps_its_time_or_says_what_it_needs(
    points: int, seconds: float, load_s: float, levels: int
) -> None:
    try:
        stages = plan(points, seconds, load_s, levels)
    except ValueError as error:
        assert str(error).startswith(f"{points} points need at least ")
        assert points > most_points(seconds, load_s, levels) or points == 0
        return
    assert sum(stage.seconds(load_s, levels) for stage in stages) <= seconds * 1.001
    assert stages[0].points == points
    assert all(a.points > b.points for a, b in pairwise(stages))
    assert all(SHORTEST_LOOK_S <= s.look_s <= LONGEST_LOOK_S and s.passes >= 1 for s in stages)
    assert stages[-1].passes >= 3
    # The points that may be chosen have been under every load.
    assert stages[-1].all_levels


@settings(max_examples=40)
@given(SECONDS, LOAD_S, LEVELS)
def test_the_largest_sweep_that_fits_fits(seconds: float, load_s: float, levels: int) -> None:
    most = most_points(seconds, load_s, levels)
    assume(most)
    plan(most, seconds, load_s, levels)
    with pytest.raises(ValueError, match="need at least"):
        plan(most + 1, seconds, load_s, levels)


@settings(max_examples=40)
@given(st.integers(1, 50), st.floats(-100, 1000), LOAD_S, LEVELS, st.integers(1, 20))
def test_a_stage_uses_the_time_it_gets(
    points: int, seconds: float, load_s: float, levels: int, passes: int
) -> None:
    stage = fitted(points, passes, seconds, load_s, levels, all_levels=True)
    assert 1 <= stage.passes <= passes
    took_s = stage.seconds(load_s, levels)
    # Too little time: one pass of the shortest looks, no less.
    at_least = stage.passes == 1 and stage.look_s == SHORTEST_LOOK_S
    assert took_s <= seconds * 1.001 or at_least
    more = fitted(points, passes, seconds + 10, load_s, levels, all_levels=True)
    assert more.passes >= stage.passes or more.look_s >= stage.look_s


@settings(max_examples=40)
@given(POINTS)
def test_stages_shrink_to_a_few(points: int) -> None:
    counts = sizes(points)
    assert counts[0] == points
    assert list(counts) == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts) <= 3


@settings(max_examples=40)
@given(POINTS, st.integers(0, 2**31))
def test_a_pass_visits_all_with_the_calibration_around_them(points: int, seed: int) -> None:
    order = visits(range(points), -1, np.random.default_rng(seed))
    counted = Counter(order)
    assert counted.pop(-1) == calibrations(points)
    assert counted == dict.fromkeys(range(points), 1)
    assert order[0] == order[-1] == -1
    places = [i for i, visited in enumerate(order) if visited == -1]
    assert all(b - a <= 5 for a, b in pairwise(places))

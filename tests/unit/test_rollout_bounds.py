"""Bounds that hold at all times at once: simulated, and against what must be so."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.rollout.bounds import difference_bounds, share_bounds

ALPHA = 0.1
RUNS = 100
# How many have answered at each look, and how many more than at the one before.
LOOKS = np.unique(np.geomspace(2, 2000, 30).astype(int))
STEPS = np.diff(LOOKS, prepend=0)


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.001, 0.2))
@settings(max_examples=200)
def test_a_share_lies_within_and_more_alpha_narrows(bad: int, good: int, alpha: float) -> None:
    low, high = share_bounds(bad, bad + good, alpha)
    assert 0.0 <= low <= high <= 1.0
    if bad + good:
        assert low <= bad / (bad + good) <= high
    else:
        assert (low, high) == (0.0, 1.0)
    narrow_low, narrow_high = share_bounds(bad, bad + good, min(0.9, 2 * alpha))
    assert low - 1e-6 <= narrow_low <= narrow_high <= high + 1e-6


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.2))
@settings(max_examples=200)
def test_a_difference_lies_within_and_turns_with_its_sides(
    worse: int, better: int, even: int, alpha: float
) -> None:
    of = worse + better + even
    low, high = difference_bounds(worse, better, of, alpha)
    assert -1.0 <= low <= high <= 1.0
    if of:
        assert low - 1e-6 <= (worse - better) / of <= high + 1e-6
    else:
        assert (low, high) == (-1.0, 1.0)
    assert difference_bounds(better, worse, of, alpha) == (-high, -low)
    narrow_low, narrow_high = difference_bounds(worse, better, of, min(0.9, 2 * alpha))
    assert low - 1e-6 <= narrow_low <= narrow_high <= high + 1e-6


def test_a_difference_without_any_variation_is_still_not_certain() -> None:
    assert difference_bounds(50, 0, 50, ALPHA) == (pytest.approx(0.77, abs=0.01), 1.0)
    low, high = difference_bounds(0, 0, 1000, ALPHA)
    assert -low == high == pytest.approx(0.006, abs=0.002)


def share_left(left: Callable[[np.random.Generator], bool]) -> float:
    """The share of runs in which the truth was ever out of bounds."""
    rng = np.random.default_rng(11)
    return sum(left(rng) for _ in range(RUNS)) / RUNS


@pytest.mark.parametrize("share", [0.005, 0.1, 0.5])
def test_a_share_leaves_its_bounds_at_no_time(share: float) -> None:
    def left(rng: np.random.Generator) -> bool:
        for of, bad in zip(LOOKS, rng.binomial(STEPS, share).cumsum(), strict=True):
            low, high = share_bounds(int(bad), int(of), ALPHA)
            if not low <= share <= high:
                return True
        return False

    assert share_left(left) <= ALPHA


@pytest.mark.parametrize(("worse", "better"), [(0.1, 0.0), (0.3, 0.2), (0.5, 0.5), (0.01, 0.002)])
def test_a_difference_leaves_its_bounds_at_no_time(worse: float, better: float) -> None:
    shares = (worse, better, 1.0 - worse - better)

    def left(rng: np.random.Generator) -> bool:
        counts = rng.multinomial(STEPS, shares).cumsum(axis=0)
        for of, (up, down, _) in zip(LOOKS, counts, strict=True):
            low, high = difference_bounds(int(up), int(down), int(of), ALPHA)
            if not low <= worse - better <= high:
                return True
        return False

    assert share_left(left) <= ALPHA


def test_after_many_pairs_the_bounds_are_little_wider_than_the_usual_interval() -> None:
    of, apart = 100_000, 3000
    low, high = difference_bounds(apart, apart, of, 0.05)
    usual = 1.96 * np.sqrt(2 * apart / of / of)
    assert -low == pytest.approx(high)
    assert usual < high < 2 * usual

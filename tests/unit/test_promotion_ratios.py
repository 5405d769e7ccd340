"""Ratios of rounds: the interval of their median keeps its promise whatever the noise."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from model_build.promotion.ratios import Ratio, median_interval, ratio_of
from serving.versions.verdict import Outcome

RUNS = 2000
ROUNDS = 20
BOUND = 1.1


def rounds(
    rng: np.random.Generator, ratio: float, *, noise: float = 0.08
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latencies in ms of both versions: a machine that drifts, noise, and bursts in one look of
    twelve that make it half as long again."""
    drift = 1.0 + 0.3 * np.sin(np.arange(ROUNDS) / 3.0 + rng.uniform(0, 6))
    sides = []
    for true in (ratio, 1.0):
        bursts = np.where(rng.random(ROUNDS) < 1 / 12, 1.5, 1.0)
        sides.append(20.0 * true * drift * bursts * np.exp(rng.normal(0.0, noise, ROUNDS)))
    return sides[0], sides[1]


def outcomes(ratio: float, **changes: float) -> Counter[Outcome]:
    rng = np.random.default_rng(4)
    return Counter(
        ratio_of("p99", *rounds(rng, ratio, **changes), at_most=BOUND).outcome  # type: ignore[arg-type]
        for _ in range(RUNS)
    )


def test_one_at_the_bound_hardly_ever_passes_or_fails() -> None:
    found = outcomes(BOUND)
    # Promised: 2.5 % each.
    assert found[Outcome.PASSED] / RUNS <= 0.03
    assert found[Outcome.FAILED] / RUNS <= 0.03


def test_an_equal_one_passes_unless_the_noise_is_too_much_and_never_fails() -> None:
    quiet, loud = outcomes(1.0, noise=0.05), outcomes(1.0, noise=0.5)
    assert quiet[Outcome.PASSED] / RUNS >= 0.9
    assert quiet[Outcome.FAILED] == 0
    assert loud[Outcome.UNDECIDED] / RUNS >= 0.85
    assert loud[Outcome.FAILED] / RUNS <= 0.03


def test_a_slow_one_fails() -> None:
    assert outcomes(1.3)[Outcome.FAILED] / RUNS >= 0.9
    assert outcomes(3.0, noise=0.3)[Outcome.FAILED] / RUNS == 1.0


@pytest.mark.parametrize("count", [6, 7, 9, 12, 20, 41])
def test_the_interval_holds_the_median_of_the_most_unruly_noise(count: int) -> None:
    rng = np.random.default_rng(count)
    inside = 0
    for _ in range(RUNS):
        low, high = median_interval((1.0 + rng.standard_cauchy(count)).tolist())
        inside += low <= 1.0 <= high
    assert inside / RUNS >= 0.945


@pytest.mark.parametrize(("count", "place"), [(6, 1), (9, 2), (12, 3), (20, 6)])
def test_the_interval_lies_between_the_values_of_the_tables(count: int, place: int) -> None:
    """Conover's table of confidence intervals for the median at 95 %."""
    values = [float(value) for value in range(1, count + 1)]
    assert median_interval(values) == (place, count + 1 - place)


def test_a_floor_is_kept_from_above() -> None:
    fast, slow = [100.0] * 8, [80.0] * 8
    for candidate, live, outcome in (
        (fast, slow, Outcome.PASSED),
        (slow, fast, Outcome.FAILED),
    ):
        found = ratio_of("requests_per_s", candidate, live, at_least=0.9)
        assert found.outcome is outcome
    spread = Ratio(name="x", value=1.0, low=0.8, high=1.1, at_least=0.9)
    assert spread.outcome is Outcome.UNDECIDED
    assert spread.figure.text == "x_ratio 1 (0.8 to 1.1), at least 0.9"
    assert spread.text == "x 1 times the live version's (0.8 to 1.1, at least 0.9 needed)"


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="5 rounds, at least 6 are needed"):
        median_interval([1.0] * 5)
    with pytest.raises(ValueError, match="longer"):
        ratio_of("x", [1.0] * 6, [1.0] * 7, at_most=BOUND)

"""Two runs: what moved beyond noise. Pure functions over results.

Rounds are few, so that the noise of one point alone is hardly known: it is taken together with the
noise of all points of the same figure (variances shrunk towards their mean, as in Smyth, "Linear
models and empirical Bayes methods", 2004). What chance does to such a ratio is found by drawing
rounds out of all deviations from the points' means (bootstrap), and of the many comparisons no more
than one in twenty of those reported may be chance (Benjamini and Hochberg, 1995).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loadtest.bench.cpu import is_model
from loadtest.bench.results import Point, Results
from loadtest.bench.summary import GENERATOR

Key = tuple[str, str, str, int]
FALSE_DISCOVERIES = 0.05
# A change that is smaller means nothing, however sure it is.
SMALLEST_CHANGE = 0.02
_DRAWS = 4000
# How many rounds' worth the noise of all points together counts beside that of one point.
_PRIOR_ROUNDS = 4.0
# Below it everything is rounding, and a ratio of noise to noise.
_LEAST_NOISE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Something that is measured at every point, above 0."""

    name: str
    of: Callable[[Point], float]
    higher_is_better: bool


FIGURES = (
    Figure(name="share of the limit", of=lambda p: p.share, higher_is_better=True),
    Figure(name="p50 ms", of=lambda p: p.p50_ms, higher_is_better=False),
    Figure(name="p99 ms", of=lambda p: p.p99_ms, higher_is_better=False),
    Figure(name="CPU ms outside", of=lambda p: _cpu_outside(p), higher_is_better=False),
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure at one point of both runs."""

    key: Key
    figure: str
    before: float
    after: float
    # after / before, and where it lies in 19 of 20 cases.
    ratio: float
    low: float
    high: float
    # Chance gives at least such a ratio so often.
    p_value: float
    beyond_noise: bool
    better: bool


def compare(before: Results, after: Results, rng: np.random.Generator) -> list[Change]:
    """Every figure at every point that both runs measured at least twice.

    Returns:
        The changes, those beyond noise first, then by how unlikely they are.
    """
    changes: list[Change] = []
    for figure in FIGURES:
        changes += _compare_figure(figure, _values(before, figure), _values(after, figure), rng)
    limit = _largest_discovery([change.p_value for change in changes])
    marked = [
        replace(
            change,
            beyond_noise=change.p_value <= limit and abs(change.ratio - 1.0) >= SMALLEST_CHANGE,
        )
        for change in changes
    ]
    return sorted(marked, key=lambda c: (not c.beyond_noise, c.p_value, c.key, c.figure))


def only_in_one(before: Results, after: Results) -> tuple[list[Key], list[Key]]:
    """Points of the first run that the second lacks, and the other way round."""
    first, second = ({p.key for p in results.points} for results in (before, after))
    return sorted(first - second), sorted(second - first)


@dataclass(frozen=True)
class _Pair:
    """Natural logarithms of one figure at one point, in both runs."""

    key: Key
    before: NDArray[np.float64]
    after: NDArray[np.float64]

    @property
    def noise_degrees(self) -> int:
        return len(self.before) + len(self.after) - 2

    @property
    def scale(self) -> float:
        """Standard error of the difference of the means, for a noise of 1."""
        return float(np.sqrt(1.0 / len(self.before) + 1.0 / len(self.after)))

    def deviations(self) -> NDArray[np.float64]:
        """From the means, made as wide as those from the unknown true means would be."""
        return np.concatenate(
            [
                (side - side.mean()) * np.sqrt(len(side) / (len(side) - 1.0))
                for side in (self.before, self.after)
            ]
        )


def _compare_figure(
    figure: Figure,
    before: Mapping[Key, list[float]],
    after: Mapping[Key, list[float]],
    rng: np.random.Generator,
) -> list[Change]:
    pairs = [
        _Pair(key, np.log(before[key]), np.log(after[key]))
        for key in before
        if key in after and len(before[key]) >= 2 and len(after[key]) >= 2
    ]
    if not pairs:
        return []
    deviations = [pair.deviations() for pair in pairs]
    typical = max(float(np.mean(np.concatenate(deviations) ** 2)), _LEAST_NOISE**2)
    noises = [
        _noise(_variance(pair.before, pair.after), pair.noise_degrees, typical) for pair in pairs
    ]
    # In units of each point's own noise, so that they can be drawn for any other.
    pool = np.concatenate([d / n for d, n in zip(deviations, noises, strict=True)])
    by_size: dict[tuple[int, int], NDArray[np.float64]] = {}
    changes = []
    for pair, noise in zip(pairs, noises, strict=True):
        size = (len(pair.before), len(pair.after))
        if size not in by_size:
            by_size[size] = _chance(pool, size, rng)
        chance = by_size[size]
        difference = float(pair.after.mean() - pair.before.mean())
        error = noise * pair.scale
        p_value = (1.0 + float(np.sum(chance >= abs(difference) / error))) / (1.0 + len(chance))
        margin = float(np.quantile(chance, 0.95)) * error
        changes.append(
            Change(
                key=pair.key,
                figure=figure.name,
                before=float(np.median(np.exp(pair.before))),
                after=float(np.median(np.exp(pair.after))),
                ratio=float(np.exp(difference)),
                low=float(np.exp(difference - margin)),
                high=float(np.exp(difference + margin)),
                p_value=p_value,
                beyond_noise=False,
                better=(difference > 0) == figure.higher_is_better,
            )
        )
    return changes


def _chance(
    pool: NDArray[np.float64], size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """What |difference| / error would be if nothing had changed: float64 [draws]."""
    typical = float(np.mean(pool**2)) or 1.0
    before = rng.choice(pool, size=(_DRAWS, size[0]))
    after = rng.choice(pool, size=(_DRAWS, size[1]))
    degrees = size[0] + size[1] - 2
    squares = sum(
        ((side - side.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) for side in (before, after)
    )
    noise = np.sqrt((squares + _PRIOR_ROUNDS * typical) / (degrees + _PRIOR_ROUNDS))
    scale = np.sqrt(1.0 / size[0] + 1.0 / size[1])
    return np.asarray(np.abs(after.mean(axis=1) - before.mean(axis=1)) / (noise * scale))


def _variance(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Of both sides about their own means."""
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (before, after))
    return squares / (len(before) + len(after) - 2)


def _noise(own: float, degrees: int, typical: float) -> float:
    """Standard deviation of one round, from the point's own variance and the typical one."""
    return float(np.sqrt((own * degrees + typical * _PRIOR_ROUNDS) / (degrees + _PRIOR_ROUNDS)))


def _largest_discovery(p_values: Sequence[float]) -> float:
    """The largest p-value that is reported, after Benjamini and Hochberg; below 0 for none."""
    limit = -1.0
    for rank, p_value in enumerate(sorted(p_values), start=1):
        if p_value <= FALSE_DISCOVERIES * rank / len(p_values):
            limit = p_value
    return limit


def _values(results: Results, figure: Figure) -> dict[Key, list[float]]:
    """By point; a round in which nothing was answered has no value."""
    found: dict[Key, list[float]] = {}
    for point in results.points:
        value = figure.of(point)
        if value > 0.0:
            found.setdefault(point.key, []).append(value)
    return found


def _cpu_outside(point: Point) -> float:
    return sum(ms for kind, ms in point.cpu_ms.items() if not is_model(kind) and kind != GENERATOR)

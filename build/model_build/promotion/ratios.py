"""How many times as long one version takes as another: ratios of rounds, and how sure they are.

Two measurements that follow each other share the machine's mood, so that each round gives a ratio
of its own. Moods change in bursts, and one burst spoils one ratio; the median over the rounds does
not mind. Its confidence interval lies between two of the sorted ratios: as many lie below the true
median as heads fall in so many tosses of a coin, whatever their distribution (the sign test turned
round: Conover, "Practical Nonparametric Statistics", 3rd edition, 1999, section 3.2). Nothing is
assumed but that rounds are independent of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from serving.versions.verdict import Figure, Outcome

CONFIDENCE = 0.95
# With fewer no interval of such confidence exists.
FEWEST_ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median over rounds of the candidate's figure divided by the live version's."""

    name: str
    value: float
    low: float
    high: float
    # The bound is `at_most` for what should be small, else `at_least`.
    at_least: float | None = None
    at_most: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Passed if it is known to keep its bound, failed if known to miss it."""
        kept = missed = False
        if self.at_most is not None:
            kept, missed = self.high <= self.at_most, self.low > self.at_most
        if self.at_least is not None:
            kept, missed = self.low >= self.at_least, self.high < self.at_least
        if kept:
            return Outcome.PASSED
        return Outcome.FAILED if missed else Outcome.UNDECIDED

    @property
    def figure(self) -> Figure:
        """With bound and interval."""
        return Figure(
            name=f"{self.name}_ratio",
            value=self.value,
            at_least=self.at_least,
            at_most=self.at_most,
            low=self.low,
            high=self.high,
        )

    @property
    def text(self) -> str:
        """In words, with the figures."""
        return (
            f"{self.name.replace('_', ' ')} {self.value:.3g} times the live version's "
            f"({self.low:.3g} to {self.high:.3g}, {self.figure.bound} needed)"
        )


def ratio_of(
    name: str,
    candidate: Sequence[float],
    live: Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Ratio:
    """The ratio of measurements, round by round.

    Args:
        name: of the figure, e.g. "p99".
        candidate: positive measurements, one a round.
        live: the other version's in the same rounds.
        at_least: bound; give this or `at_most`.
        at_most: bound.

    Raises:
        ValueError: the rounds do not match, or are fewer than `FEWEST_ROUNDS`.
    """
    ratios = [ours / theirs for ours, theirs in zip(candidate, live, strict=True)]
    low, high = median_interval(ratios)
    return Ratio(
        name=name, value=median(ratios), low=low, high=high, at_least=at_least, at_most=at_most
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of the true median with a confidence of at least 95 %.

    Raises:
        ValueError: there are fewer values than `FEWEST_ROUNDS`.
    """
    count = len(values)
    if count < FEWEST_ROUNDS:
        raise ValueError(f"{count} rounds, at least {FEWEST_ROUNDS} are needed")
    # How many may lie outside at each end: P(Binomial(count, 1/2) <= outside) <= 2.5 %.
    chance, outside = 0.5**count, 0
    while True:
        chance += comb(count, outside + 1) * 0.5**count
        if chance > (1.0 - CONFIDENCE) / 2.0:
            break
        outside += 1
    ordered = sorted(values)
    return ordered[outside], ordered[count - 1 - outside]

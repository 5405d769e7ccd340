"""Is one version worse than another on the same samples? By how much, and how sure is that?

A figure is a ratio of two sums over the samples: right answers over answers for an accuracy, twice
the right slots over those found and those wanted for an F1, gains over customers for a mean. Both
versions answer the same samples, so that what makes a sample hard falls out of their difference.
The difference of the two ratios is linearised; what each sample adds to it gives its variance.

- Samples of one group (utterances of one template) resemble each other. What they add is summed by
  group first (Woodruff, "A simple method for approximating the variance of a complicated estimate",
  1971). By how much that widens the interval is the design effect.
- Two versions that agree on a few samples must not be taken for equal. So four samples are made up,
  two that the candidate wins wholly and two that it loses wholly (Agresti and Coull, "Approximate
  is better than 'exact' for interval estimation of binomial proportions", 1998; for pairs, Agresti
  and Min, "Simple improved confidence intervals for comparing matched proportions", 2005). They
  count as often as the design effect says (Korn and Graubard, "Confidence intervals for proportions
  with small expected number of positive counts estimated from survey data", 1998). Without a single
  difference the interval is as wide as Tango's score interval for pairs ("Equivalence test and
  confidence interval for the difference in proportions for the paired-sample design", 1998).

The question is one of non-inferiority: a loss within the margin is none. In simulation, a candidate
that is worse by just the margin passes in 1 to 4 % of the cases (2.5 % is aimed at), in up to 6 %
where groups differ in what they lose and in 9 % where they differ much; a tie is never called a
loss. A loss that lies in whole groups and leaves all others alone is found less surely when there
are few: with 60 groups and a margin of 3 % it passes in one case of seven, because no such group
may be among those held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from serving.versions.verdict import Figure, Outcome

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0)
_MADE_UP = 4


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one version made of n samples: the figure is the sum of `gained` over `possible`.

    Samples of which nothing was possible have no part in the figure.
    """

    # float64 [n]
    gained: Floats
    possible: Floats

    @classmethod
    def mean_of(cls, values: Sequence[float] | NDArray[np.generic]) -> "Scores":
        """Scores whose figure is the mean of the values, one a sample."""
        gained = np.asarray(values, np.float64)
        return cls(gained=gained, possible=np.ones_like(gained))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure of two versions on the same samples."""

    name: str
    candidate: float
    live: float
    # Confidence interval of the candidate's figure minus the live version's.
    low: float
    high: float
    # By how much the figure may get worse; above 0.
    margin: float
    # For losses, where less is better.
    lower_is_better: bool
    samples: int
    # Without groups, as many as samples.
    groups: int

    @property
    def change(self) -> float:
        """The candidate's figure minus the live version's."""
        return self.candidate - self.live

    @property
    def outcome(self) -> Outcome:
        """Passed if the loss is known to lie within the margin, failed if beyond it."""
        least, most = (self.low, self.high)
        if self.lower_is_better:
            least, most = -self.high, -self.low
        if least >= -self.margin:
            return Outcome.PASSED
        return Outcome.FAILED if most < -self.margin else Outcome.UNDECIDED

    @property
    def figures(self) -> tuple[Figure, Figure, Figure]:
        """The candidate's, the live version's, and their difference with its bound."""
        return (
            Figure(name=self.name, value=self.candidate),
            Figure(name=f"{self.name}_of_live", value=self.live),
            Figure(
                name=f"{self.name}_change",
                value=self.change,
                at_least=None if self.lower_is_better else -self.margin,
                at_most=self.margin if self.lower_is_better else None,
                low=self.low,
                high=self.high,
            ),
        )

    @property
    def text(self) -> str:
        """In words, with the figures."""
        bound = f"{self.margin:+.3f}" if self.lower_is_better else f"{-self.margin:+.3f}"
        side = "at most" if self.lower_is_better else "at least"
        return (
            f"{self.name.replace('_', ' ')} {self.candidate:.3f} against {self.live:.3f}, "
            f"{self.change:+.3f} ({self.low:+.3f} to {self.high:+.3f}, {side} {bound} needed)"
        )


def compare(
    name: str,
    candidate: Scores,
    live: Scores,
    *,
    margin: float,
    groups: Sequence[str] | None = None,
    lower_is_better: bool = False,
) -> Comparison:
    """Compares two versions by one figure.

    Args:
        name: the figure's.
        candidate: of the version to be promoted.
        live: of the other one; row i belongs to the same sample.
        margin: by how much the figure may get worse, in its own unit.
        groups: of each sample; without them every sample stands for itself.
        lower_is_better: whether the figure is a loss.

    Raises:
        ValueError: there is nothing to compare on, or the rows do not match.
    """
    rows = {len(candidate.gained), len(live.gained)} | (set() if groups is None else {len(groups)})
    if len(rows) > 1:
        raise ValueError(f"{name}: samples, answers and groups do not match: {sorted(rows)}")
    if not candidate.possible.sum() > 0 or not live.possible.sum() > 0:
        raise ValueError(f"{name}: there is nothing to compare on")
    # The others must not count as agreement.
    part = (candidate.possible > 0) | (live.possible > 0)
    count = int(part.sum())
    names = np.arange(len(part)) if groups is None else np.array(groups)
    group_of = np.unique(names[part], return_inverse=True)[1]
    number = int(group_of.max()) + 1
    ours, of_ours = _linearised(candidate.gained[part], candidate.possible[part])
    theirs, of_theirs = _linearised(live.gained[part], live.possible[part])
    added = of_ours - of_theirs
    alone = float((added**2).sum())
    grouped = float((np.bincount(group_of, added) ** 2).sum()) * number / max(number - 1, 1)
    design_effect = max(1.0, grouped / alone) if alone else 1.0
    half = _Z * sqrt((alone + _MADE_UP) * design_effect) / count
    change = ours - theirs
    return Comparison(
        name=name,
        candidate=ours,
        live=theirs,
        low=change - half,
        high=change + half,
        margin=margin,
        lower_is_better=lower_is_better,
        samples=count,
        groups=number,
    )


def _linearised(gained: Floats, possible: Floats) -> tuple[float, Floats]:
    """The figure, and what each sample adds to its error, as a multiple of an average sample."""
    ratio = float(gained.sum() / possible.sum())
    return ratio, (gained - ratio * possible) / possible.mean()

"""Bounds that hold at every moment of a counting at once (confidence sequences).

A wealth that starts at 1 and is a martingale, or sinks, if a value is true ever comes to 1 / alpha
with probability alpha at most (Ville's inequality). The bounds enclose the values whose wealth has
not.

A share has the mixture martingale of Robbins ("Statistical methods related to the law of the
iterated logarithm", 1970) with a uniform mixture: after s of n, a value p is excluded once

    B(s + 1, n - s + 1) / (p^s (1 - p)^(n - s))  >=  1 / alpha        (B: the beta function)

See Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021.

The mean of differences within pairs, each x of them -1, 0 or 1, has the betting martingale of
Waudby-Smith and Ramdas ("Estimating means of bounded random variables by betting", 2024): a mean of
m or more is excluded once

    mean over r of  product over x of  1 + r (m - x) / (1 - m)  >=  2 / alpha,        0 < r < 1

and one of m or less likewise with all signs turned. The mixture over r, instead of bets that follow
what was seen before, asks for nothing but how many there were of each x: the order is not known
when several processes count.
"""

import math
from collections.abc import Callable

# Bounds are found to this much.
_PRECISION = 1e-7
# What is put at stake, as parts of the wealth: from all but a tenth, good for large differences,
# down to what a hundred thousand pairs with a small one ask for.
_STAKES = tuple(0.9 * 0.75**k for k in range(20))


def share_bounds(bad: int, of: int, alpha: float) -> tuple[float, float]:
    """Bounds of a share.

    Args:
        bad: how many were so far.
        of: so many, not fewer than `bad`.
        alpha: chance of ever being wrong, above 0 and below 1.
    """
    good = of - bad
    # ln B(s + 1, n - s + 1) + ln(1 / alpha) is what ln(p^s (1 - p)^(n - s)) must stay above.
    least = (math.lgamma(bad + 1) + math.lgamma(good + 1) - math.lgamma(of + 2)) + math.log(alpha)

    def inside(share: float) -> bool:
        value = 0.0
        if bad:
            value += bad * math.log(share) if share > 0 else -math.inf
        if good:
            value += good * math.log1p(-share) if share < 1 else -math.inf
        return value > least

    seen = bad / of if of else 0.5
    return (
        0.0 if inside(0.0) else _edge(inside, 0.0, seen),
        1.0 if inside(1.0) else _edge(inside, 1.0, seen),
    )


def difference_bounds(worse: int, better: int, of: int, alpha: float) -> tuple[float, float]:
    """Bounds of the share of pairs in which one side was worse, minus that in which it was better.

    Args:
        worse: pairs so far in which it was worse.
        better: pairs in which it was better.
        of: all pairs, those in which neither was included.
        alpha: chance of ever being wrong, above 0 and below 1.
    """
    return -_highest(better, worse, of, alpha / 2), _highest(worse, better, of, alpha / 2)


def _highest(up: int, down: int, of: int, alpha: float) -> float:
    """The highest mean that is not excluded: of `up` times 1, `down` times -1, and noughts."""
    even = of - up - down

    def inside(mean: float) -> bool:
        rest = 1.0 - mean
        grown = [
            up * math.log1p(-stake)
            + even * math.log((rest + stake * mean) / rest)
            + down * math.log((rest + stake * (1.0 + mean)) / rest)
            for stake in _STAKES
        ]
        most = max(grown)
        wealth = most + math.log(sum(math.exp(log - most) for log in grown) / len(_STAKES))
        return wealth < -math.log(alpha)

    # The wealth grows with the mean that is doubted, beyond all bounds towards 1 unless every
    # single one was 1.
    seen = (up - down) / of if of else 0.0
    top = 1.0 - _PRECISION
    return 1.0 if inside(top) else _edge(inside, top, seen)


def _edge(inside: Callable[[float], bool], out: float, within: float) -> float:
    """Where `inside` changes between a value that is out and one that is within."""
    while abs(out - within) > _PRECISION:
        middle = (out + within) / 2.0
        if inside(middle):
            within = middle
        else:
            out = middle
    return out

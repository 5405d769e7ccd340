"""Is the candidate worse than what is live? Asked as often as one likes, while the answers come in.

Whoever looks at a running experiment again and again and stops at the first bad moment is wrong far
more often than an ordinary test promises. The bounds here hold at all times at once: however often
they are looked at, the chance that a share ever leaves its bounds is at most `1 - confidence`.

Each share (of errors, of answers that come too late, of disagreements, of bad feedback) has bounds
from the mixture martingale of Robbins ("Statistical methods related to the law of the iterated
logarithm", 1970) with a uniform mixture: after s of n, a value p is excluded once

    B(s + 1, n - s + 1) / (p^s (1 - p)^(n - s))  >=  1 / alpha        (B: the beta function)

which is a martingale that starts at 1 if p is true, so that it ever comes so far with probability
alpha at most (Ville's inequality). See Howard et al., "Time-uniform, nonparametric, nonasymptotic
confidence sequences", 2021. What is asked of all measures of both arms shares one alpha
(Bonferroni).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

# Shares are found to this much.
_PRECISION = 1e-7


class Verdict(StrEnum):
    """What the counts so far say."""

    # Some measure is worse than it may be.
    REJECT = "reject"
    # Every measure is known to be no worse than it may be.
    ACCEPT = "accept"
    # Neither is known yet.
    GO_ON = "go on"


@dataclass(frozen=True, kw_only=True)
class Count:
    """So many of so many were bad."""

    bad: int = 0
    of: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ValueError: a number is negative, or more are bad than there are.
        """
        if not 0 <= self.bad <= self.of:
            raise ValueError(f"{self.bad} bad of {self.of}")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One way of being bad."""

    name: str
    # By how much the candidate's share may exceed the live version's.
    margin: float
    # None: the candidate is compared with the live version itself, whose share is nought.
    live: Count | None
    candidate: Count
    # Whether the candidate is only accepted once this is known to be well; it is rejected for it
    # in any case.
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measure judged."""

    measure: Measure
    verdict: Verdict
    # The candidate's share minus the live one's: seen, and the bounds that hold at all times.
    difference: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In a line, with the figures."""
        live = self.measure.live
        against = "" if live is None else f" against {live.bad} of {live.of}"
        return (
            f"{self.measure.name}: {self.measure.candidate.bad} of {self.measure.candidate.of}"
            f"{against}: {self.difference:+.2%} ({self.low:+.2%} to {self.high:+.2%}), "
            f"at most {self.measure.margin:+.2%} is taken"
        )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All measures together."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """What led to the verdict; while there is none, what is waited for."""
        decisive = [
            finding
            for finding in self.findings
            if finding.verdict is self.verdict
            and (finding.measure.needed or self.verdict is not Verdict.GO_ON)
        ]
        return "; ".join(finding.text for finding in decisive)


def bounds(count: Count, alpha: float) -> tuple[float, float]:
    """Bounds of a share that hold at every moment of the counting, with probability 1 - alpha.

    Args:
        count: what was seen so far.
        alpha: chance of ever being wrong, above 0 and below 1.
    """
    good = count.of - count.bad
    # ln B(s + 1, n - s + 1) + ln(1 / alpha) is what ln(p^s (1 - p)^(n - s)) must stay above.
    least = (
        math.lgamma(count.bad + 1) + math.lgamma(good + 1) - math.lgamma(count.of + 2)
    ) + math.log(alpha)

    def inside(share: float) -> bool:
        value = 0.0
        if count.bad:
            value += count.bad * math.log(share) if share > 0 else -math.inf
        if good:
            value += good * math.log1p(-share) if share < 1 else -math.inf
        return value > least

    seen = count.bad / count.of if count.of else 0.5
    return (
        0.0 if inside(0.0) else _edge(inside, 0.0, seen),
        1.0 if inside(1.0) else _edge(inside, 1.0, seen),
    )


def judge(measures: Sequence[Measure], alpha: float = 0.05) -> Judgement:
    """Judges a candidate by all its measures; may be asked again after every single answer.

    Args:
        measures: with the counts so far.
        alpha: chance of ever rejecting a candidate that is no worse than it may be, or of ever
            accepting one that is worse; over all measures.

    Raises:
        ValueError: no measure is needed, or alpha is no probability.
    """
    if not any(measure.needed for measure in measures):
        raise ValueError("measures: none is needed, so that there is nothing to judge by")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: must be above 0 and below 1, got {alpha}")
    findings = tuple(_judged(measure, alpha / len(measures)) for measure in measures)
    waiting = [f for f in findings if f.measure.needed and f.verdict is Verdict.GO_ON]
    if any(finding.verdict is Verdict.REJECT for finding in findings):
        verdict = Verdict.REJECT
    else:
        verdict = Verdict.GO_ON if waiting else Verdict.ACCEPT
    return Judgement(verdict=verdict, findings=findings)


def _judged(measure: Measure, alpha: float) -> Finding:
    live = measure.live
    if live is None:
        live_low, live_high, low, high = 0.0, 0.0, *bounds(measure.candidate, alpha)
    else:
        # A share each: both sets of bounds hold at once.
        live_low, live_high = bounds(live, alpha / 2)
        low, high = bounds(measure.candidate, alpha / 2)
    if low - live_high > measure.margin:
        verdict = Verdict.REJECT
    elif high - live_low <= measure.margin:
        verdict = Verdict.ACCEPT
    else:
        verdict = Verdict.GO_ON
    return Finding(
        measure=measure,
        verdict=verdict,
        difference=_share(measure.candidate) - (0.0 if live is None else _share(live)),
        low=low - live_high,
        high=high - live_low,
    )


def _share(count: Count) -> float:
    return count.bad / count.of if count.of else 0.0


def _edge(inside: Callable[[float], bool], out: float, within: float) -> float:
    """Where `inside` changes between a share that is out and one that is within."""
    while abs(out - within) > _PRECISION:
        middle = (out + within) / 2.0
        if inside(middle):
            within = middle
        else:
            out = middle
    return out

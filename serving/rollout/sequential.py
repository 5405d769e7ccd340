"""Is the candidate worse than what is live? Asked as often as one likes, while the answers come in.

Whoever looks at a running experiment again and again and stops at the first bad moment is wrong far
more often than an ordinary test promises. The bounds here hold at all times at once: however often
they are looked at, the chance that a share ever leaves its bounds is at most `1 - confidence`.

What is asked of all measures of both arms shares one alpha (Bonferroni).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from serving.rollout.bounds import difference_bounds, share_bounds


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
    # Whether both are counted of the same requests, each bad for one side at most; far fewer are
    # needed then.
    paired: bool = False
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
    low, high = _bounds(measure, alpha)
    if low > measure.margin:
        verdict = Verdict.REJECT
    elif high <= measure.margin:
        verdict = Verdict.ACCEPT
    else:
        verdict = Verdict.GO_ON
    return Finding(
        measure=measure,
        verdict=verdict,
        difference=_share(measure.candidate) - _share(measure.live),
        low=low,
        high=high,
    )


def _bounds(measure: Measure, alpha: float) -> tuple[float, float]:
    live, candidate = measure.live, measure.candidate
    if live is None:
        return share_bounds(candidate.bad, candidate.of, alpha)
    if measure.paired:
        return difference_bounds(candidate.bad, live.bad, candidate.of, alpha)
    # A share each: both sets of bounds hold at once.
    live_low, live_high = share_bounds(live.bad, live.of, alpha / 2)
    low, high = share_bounds(candidate.bad, candidate.of, alpha / 2)
    return low - live_high, high - live_low


def _share(count: Count | None) -> float:
    return count.bad / count.of if count and count.of else 0.0

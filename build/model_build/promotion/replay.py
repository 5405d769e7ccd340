"""Gate `replay`: do two versions answer recorded requests alike?

The requests are replayed elsewhere; this judges what came out. That two versions disagree does not
say which of them is right, so that some disagreement is taken; hardly any where one failed to
answer. A share has passed when its confidence interval lies within its bound, and failed when it
lies beyond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from model_build.promotion.finding import Finding, together
from serving.versions.verdict import MOST_EXAMPLES, Figure, Outcome


class Share(Protocol):
    """So many of so many, with a confidence interval of the true share."""

    @property
    def count(self) -> int:
        """How many."""
        ...

    @property
    def of(self) -> int:
        """Of how many."""
        ...

    @property
    def low(self) -> float:
        """Lower bound of the share."""
        ...

    @property
    def high(self) -> float:
        """Upper bound of the share."""
        ...


class Example(Protocol):
    """A text on which the versions disagree."""

    @property
    def text(self) -> str:
        """Masked."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """Of disagreements."""
        ...


class ReplayResult(Protocol):
    """What is needed of a replay through the live version and the one to be promoted."""

    @property
    def records(self) -> int:
        """Requests that were replayed."""
        ...

    @property
    def disagreements(self) -> Share:
        """Requests in which the versions differ in any way."""
        ...

    @property
    def by_kind(self) -> Mapping[Any, Share]:
        """The same by kind (a string); a request may be of several."""
        ...

    @property
    def examples(self) -> Sequence[Example]:
        """The worst first."""
        ...


@dataclass(frozen=True, kw_only=True)
class ReplayBounds:
    """How much disagreement is taken."""

    # Of requests with any disagreement, as a share.
    share: float = 0.05
    # Of single kinds.
    by_kind: Mapping[str, float] = field(default_factory=lambda: {"failed": 0.005})


def judge_replay(result: ReplayResult, bounds: ReplayBounds) -> Finding:
    """Passed if every share is known to keep its bound, failed if one is known to exceed it.

    Raises:
        ValueError: a bound is for a kind that the replay does not count.
    """
    unknown = bounds.by_kind.keys() - {str(kind) for kind in result.by_kind}
    if unknown:
        raise ValueError(f"by_kind: the replay counts no {', '.join(sorted(unknown))}")
    if not result.records:
        return Finding(outcome=Outcome.UNDECIDED, reason="No recorded request was replayed.")
    figures = [_figure("disagreements", result.disagreements, bounds.share)]
    for kind, share in result.by_kind.items():
        figures.append(_figure(str(kind), share, bounds.by_kind.get(str(kind))))
    outcomes = {f.name: _outcome(f) for f in figures if f.at_most is not None}
    outcome = together(outcomes.values())
    shown = "; ".join(f.text for f in figures if outcomes.get(f.name) is outcome)
    return Finding(
        outcome=outcome,
        reason=f"Of {result.records} recorded requests: {shown}.",
        figures=tuple(figures),
        examples=tuple(
            f"{example.text!r}: {', '.join(example.kinds)}"
            for example in result.examples[:MOST_EXAMPLES]
        ),
    )


def _figure(name: str, share: Share, at_most: float | None) -> Figure:
    return Figure(
        name=name, value=share.count / share.of, at_most=at_most, low=share.low, high=share.high
    )


def _outcome(figure: Figure) -> Outcome:
    """Of a figure with interval and upper bound."""
    assert figure.at_most is not None
    assert figure.low is not None
    assert figure.high is not None
    if figure.high <= figure.at_most:
        return Outcome.PASSED
    return Outcome.FAILED if figure.low > figure.at_most else Outcome.UNDECIDED

"""The gate of replay: how often two versions may disagree."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from model_build.promotion.replay import ReplayBounds, judge_replay
from serving.versions.verdict import Outcome


@dataclass(frozen=True)
class FixedShare:
    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True)
class FixedReplay:
    """As many requests as it is told to have, so many of them with disagreements."""

    records: int = 2000
    disagreements: FixedShare = FixedShare(20, 2000, 0.006, 0.015)
    by_kind: Mapping[str, FixedShare] = field(
        default_factory=lambda: {"failed": FixedShare(0, 2000, 0.0, 0.002)}
    )
    examples: tuple[Any, ...] = (
        SimpleNamespace(text="wo ist es", kinds=("intent changed", "slot removed")),
    )


def test_versions_that_agree_often_enough_pass() -> None:
    finding = judge_replay(FixedReplay(), ReplayBounds())
    assert finding.outcome is Outcome.PASSED
    assert finding.examples == ("'wo ist es': intent changed, slot removed",)
    assert finding.reason == (
        "Of 2000 recorded requests: disagreements 0.01 (0.006 to 0.015), at most 0.05; "
        "failed 0 (0 to 0.002), at most 0.005."
    )


@pytest.mark.parametrize(
    ("disagreements", "outcome"),
    [
        (FixedShare(90, 2000, 0.037, 0.055), Outcome.UNDECIDED),
        (FixedShare(200, 2000, 0.088, 0.114), Outcome.FAILED),
    ],
)
def test_those_that_do_not_fail_once_that_is_sure(
    disagreements: FixedShare, outcome: Outcome
) -> None:
    finding = judge_replay(FixedReplay(disagreements=disagreements), ReplayBounds())
    assert finding.outcome is outcome


def test_a_kind_may_have_a_bound_of_its_own() -> None:
    failing = FixedReplay(by_kind={"failed": FixedShare(20, 2000, 0.0065, 0.015)})
    finding = judge_replay(failing, ReplayBounds())
    assert finding.outcome is Outcome.FAILED
    assert "failed 0.01 (0.0065 to 0.015), at most 0.005" in finding.reason
    assert judge_replay(failing, ReplayBounds(by_kind={})).outcome is Outcome.PASSED
    with pytest.raises(ValueError, match="by_kind: the replay counts no lost"):
        judge_replay(failing, ReplayBounds(by_kind={"lost": 0.1}))


def test_without_records_nothing_is_known() -> None:
    finding = judge_replay(FixedReplay(records=0), ReplayBounds())
    assert finding.outcome is Outcome.UNDECIDED

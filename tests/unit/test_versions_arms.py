"""Who is in which arm: stable, fair, independent from experiment to experiment."""

import math

import pytest

from serving.versions import lineup as rules
from serving.versions.arms import Arm, Choice, choose, place_of
from serving.versions.lineup import Lineup

PLACE = 11.7275485599
CUSTOMERS = [f"customer-{number}" for number in range(20_000)]


def canary(percent: float) -> Lineup:
    lineup = Lineup(model="ranker", live=1, staged=(2,))
    return rules.canary(lineup, 2, percent)


def inside(lineup: Lineup) -> set[str]:
    return {c for c in CUSTOMERS if choose(lineup, c) == Choice(2, Arm.CANARY)}


@pytest.mark.parametrize("percent", [1.0, 10.0, 50.0])
def test_the_arm_has_its_share_of_the_customers(percent: float) -> None:
    share = percent / 100.0
    spread = math.sqrt(share * (1 - share) / len(CUSTOMERS))
    assert abs(len(inside(canary(percent))) / len(CUSTOMERS) - share) < 5 * spread


def test_whoever_is_in_stays_in_while_the_share_grows() -> None:
    lineup = canary(1.0)
    before = inside(lineup)
    for percent in (10.0, 50.0):
        lineup = rules.canary(lineup, 2, percent)
        assert before <= inside(lineup)
        before = inside(lineup)


def test_two_experiments_divide_customers_independently() -> None:
    first, second = inside(canary(50.0)), inside(canary(50.0))
    both = len(first & second) / len(CUSTOMERS)
    assert abs(both - 0.25) < 0.02


def test_nobody_is_in_a_shadow_and_nobody_is_answered_by_nothing() -> None:
    shadow = rules.shadow(Lineup(model="ranker", live=1, staged=(2,)), 2)
    assert inside(shadow) == set()
    assert choose(shadow, "a") == Choice(1, Arm.LIVE)
    assert choose(Lineup(model="ranker"), "a") is None


def test_places_do_not_depend_on_the_process() -> None:
    # Another value here would move customers from arm to arm with a release.
    assert place_of("customer-1", "00ff") == pytest.approx(PLACE)
    assert 0.0 <= place_of("", "") < 100.0

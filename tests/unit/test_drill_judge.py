"""What a promotion drill has shown: pure over its answers."""

from collections.abc import Sequence

import pytest

from loadtest.bench.load import Answer
from loadtest.drill.judge import SWITCH_S, Switch, judge

MODEL = "understanding"


def answers(start_s: float, seconds: float, version: int, latency_ms: float = 10.0) -> list[Answer]:
    """Ten a second."""
    return [
        Answer(
            start_s + i / 10, latency_ms, ((MODEL, version, "live"), ("ranker", 1, "live")), False
        )
        for i in range(round(seconds * 10))
    ]


SWITCHES = (
    Switch(at_s=110.0, action="promote", version=4),
    Switch(at_s=120.0, action="rollback", version=3),
)


QUIET = ((80.0, 100.0), (130.0, 140.0))


def test_a_clean_drill_has_nothing_to_complain_of() -> None:
    drilled = [*answers(100, 10, 3), *answers(110.2, 9.6, 4), *answers(120.2, 9.8, 3)]
    before, after = answers(80, 20, 3), answers(130, 10, 3)
    verdict = judge([*before, *drilled, *after], SWITCHES, [], QUIET, {}, MODEL)
    assert (verdict.switches, verdict.mixed, verdict.late, verdict.degraded) == (2, 0, 0, 0)
    assert verdict.requests == 300 + len(drilled)
    assert verdict.p99_ratio == pytest.approx(1.0)
    assert verdict.quiet.answers == 300
    assert verdict.between.answers + verdict.during.answers == len(drilled)


def test_slow_answers_count_where_they_fall() -> None:
    slow = [*answers(100, 9, 3), *answers(109.6, 0.8, 3, 90.0), *answers(111, 8, 4)]
    verdict = judge([*answers(80, 20, 3), *slow], SWITCHES[:1], [], QUIET, {}, MODEL)
    assert verdict.during.p99_ms == pytest.approx(90.0)
    assert verdict.p99_ratio == pytest.approx(1.0)
    slow = answers(100, 8, 3, 25.0)
    verdict = judge([*answers(80, 20, 3), *slow], SWITCHES[:1], [], QUIET, {}, MODEL)
    assert verdict.p99_ratio == pytest.approx(2.5)


def test_what_a_peak_left_behind_is_no_versions_doing_but_a_late_answer_is() -> None:
    left = [*answers(70, 10, 3, 500.0), *answers(80, 20, 3), *answers(100, 9, 3)]
    verdict = judge(left, SWITCHES[:1], [(70.0, 80.0)], QUIET, {}, MODEL)
    assert verdict.p99_ratio == pytest.approx(1.0)
    assert (verdict.settling.answers, verdict.settling.p99_ms) == (100, pytest.approx(500.0))
    wrong = answers(125, 1, 4)
    verdict = judge([*answers(80, 9, 3), *wrong], SWITCHES, [(124.0, 130.0)], QUIET, {}, MODEL)
    assert verdict.late == 10


@pytest.mark.parametrize(
    ("at_s", "version", "late"),
    [
        (105.0, 3, 0),
        (105.0, 4, 0),
        # Around a switch either may answer.
        (110.0 - SWITCH_S / 2, 4, 0),
        (110.0 + SWITCH_S / 2, 3, 0),
        (112.0, 3, 1),
        (112.0, 4, 0),
        (125.0, 4, 1),
    ],
)
def test_a_version_that_is_not_live_any_more_must_not_answer(
    at_s: float, version: int, late: int
) -> None:
    one: Sequence[Answer] = [Answer(at_s, 1.0, ((MODEL, version, "live"),), False)]
    assert judge([*answers(80, 1, 3), *one], SWITCHES, [], QUIET, {}, MODEL).late == late


def test_errors_degraded_and_mixed_answers_are_counted() -> None:
    mixed = Answer(101.0, 1.0, ((MODEL, 3, "live"), (MODEL, 4, "live")), True)
    verdict = judge([*answers(80, 1, 3), mixed], SWITCHES, [], QUIET, {"UNAVAILABLE": 2}, MODEL)
    assert (verdict.mixed, verdict.degraded) == (1, 1)
    assert verdict.errors == {"UNAVAILABLE": 2}
    assert verdict.requests == 10 + 1 + 2

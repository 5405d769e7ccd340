"""What a promotion drill has shown: pure over its rounds."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadtest.bench.load import Answer
from loadtest.drill.judge import REFUSED, SWITCH_S, Round, Switch, Time, judge

MODEL = "understanding"


def answers(start_s: float, seconds: float, version: int, latency_ms: float = 10.0) -> list[Answer]:
    """Ten a second."""
    return [
        Answer(
            start_s + i / 10, latency_ms, ((MODEL, version, "live"), ("ranker", 1, "live")), False
        )
        for i in range(round(seconds * 10))
    ]


def round_of(
    *parts: Sequence[Answer],
    steady: bool = True,
    refused_at_s: tuple[float, ...] = (),
    errors: dict[str, int] | None = None,
) -> Round:
    """Settles from 80 s on, is quiet from 85 to 100, promotes 4 at 110, goes back at 120.

    Is quiet again from 130 to 145.
    """
    return Round(
        rate_per_s=10.0,
        steady=steady,
        quiet=((85.0, 100.0), (130.0, 145.0)),
        switches=(
            Switch(at_s=110.0, action="promote", version=4),
            Switch(at_s=120.0, action="rollback", version=3),
        ),
        promotion_s=3.0,
        rollback_s=0.03,
        answers=tuple(answer for part in parts for answer in part),
        refused_at_s=refused_at_s,
        errors=errors or {},
    )


CLEAN = (answers(80, 30, 3), answers(110.2, 9.6, 4), answers(120.2, 29.8, 3))


def test_a_clean_drill_has_nothing_to_complain_of() -> None:
    verdict = judge([round_of(*CLEAN)], MODEL)
    assert (verdict.mixed, verdict.late, verdict.degraded, verdict.errors) == (0, 0, 0, {})
    assert verdict.p99_ratio == pytest.approx(1.0)
    # Five seconds of each before and after what is compared.
    assert verdict.parts[Time.SETTLING].answers == 100
    assert verdict.parts[Time.QUIET].answers == 300
    assert sum(part.answers for part in verdict.parts.values()) == verdict.requests == 694


def test_slow_answers_count_where_they_fall() -> None:
    quiet = answers(85, 15, 3)
    switching = answers(109.6, 0.8, 3, 90.0)
    verdict = judge([round_of(quiet, answers(100, 9, 3), switching, answers(111, 8, 4))], MODEL)
    assert verdict.parts[Time.SWITCHING].p99_ms == pytest.approx(90.0)
    assert verdict.p99_ratio == pytest.approx(1.0)
    verdict = judge([round_of(quiet, answers(100, 8, 3, 25.0))], MODEL)
    assert verdict.p99_ratio == pytest.approx(2.5)
    assert verdict.p99_ratios == pytest.approx((2.5,))
    # What a peak left behind is no version's doing.
    verdict = judge([round_of(answers(80, 5, 3, 500.0), quiet, answers(100, 8, 3))], MODEL)
    assert verdict.p99_ratio == pytest.approx(1.0)


def test_a_machine_that_becomes_slower_is_seen_on_both_sides() -> None:
    before, after = answers(85, 15, 3), answers(130, 15, 3, 30.0)
    verdict = judge([round_of(before, answers(100, 8, 3, 20.0), after)], MODEL)
    assert verdict.parts[Time.QUIET].answers == 300
    assert verdict.p99_ratio == pytest.approx(20.0 / 30.0)
    assert verdict.quiet_p99_ratios == pytest.approx((3.0,))


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
    one = Answer(at_s, 1.0, ((MODEL, version, "live"),), False)
    assert judge([round_of(answers(85, 1, 3), [one])], MODEL).late == late


def test_errors_degraded_and_mixed_answers_are_counted() -> None:
    mixed = Answer(101.0, 1.0, ((MODEL, 3, "live"), (MODEL, 4, "live")), True)
    one = round_of(answers(85, 1, 3), [mixed], refused_at_s=(105.0,), errors={"UNAVAILABLE": 2})
    verdict = judge([one] * 2, MODEL)
    assert (verdict.mixed, verdict.degraded) == (2, 2)
    assert verdict.errors == {"UNAVAILABLE": 4, REFUSED: 2}
    assert verdict.requests == 2 * (10 + 1 + 3)


def test_a_round_with_too_much_load_says_nothing_of_latency_but_of_everything_else() -> None:
    mixed = Answer(101.0, 1.0, ((MODEL, 3, "live"), (MODEL, 4, "live")), True)
    late = answers(125, 1, 4, 900.0)
    too_much = round_of(
        [mixed], late, steady=False, refused_at_s=(105.0,) * 7, errors={"UNAVAILABLE": 2}
    )
    verdict = judge([round_of(*CLEAN), too_much], MODEL)
    assert (verdict.mixed, verdict.late, verdict.degraded) == (1, 10, 1)
    assert verdict.errors == {"UNAVAILABLE": 2, REFUSED: 7}
    assert verdict.refused_unsteady == 7
    assert verdict.p99_ratio == pytest.approx(1.0)
    assert sum(part.answers for part in verdict.parts.values()) == 694


@pytest.mark.parametrize("steady", [True, False])
# As it settles; on either side; while the version is loaded; in a switch second.
@pytest.mark.parametrize("at_s", [82.0, 95.0, 131.0, 105.0, 110.0])
def test_a_refusal_is_a_failure_whenever_it_came(at_s: float, steady: bool) -> None:
    verdict = judge([round_of(*CLEAN, steady=steady, refused_at_s=(at_s,))], MODEL)
    assert (verdict.errors, verdict.refused_unsteady) == ({REFUSED: 1}, int(not steady))
    assert verdict.requests == 694 + 1


def test_a_bad_moment_while_all_is_quiet_does_not_hide_what_the_rounds_show() -> None:
    slower = round_of(answers(85, 15, 3), answers(100, 8, 3, 20.0))
    disturbed = round_of(answers(85, 15, 3, 300.0), answers(100, 8, 3, 20.0))
    verdict = judge([slower, slower, disturbed], MODEL)
    assert verdict.p99_ratio < 1.0
    assert verdict.median_p99_ratio == pytest.approx(2.0)


def test_a_round_is_told_in_a_line() -> None:
    one = round_of(*CLEAN)
    assert one.text == (
        "10/s, live after 3.0 s, back after 30 ms, p99 quiet 10, between switches 10 ms"
    )
    odd = replace(one, steady=False, errors={"UNAVAILABLE": 2}, refused_at_s=(90.0, 105.0, 131.0))
    assert odd.text.endswith(
        " ms, 2 UNAVAILABLE, 2 refused (quiet), 1 refused (between switches); "
        "does not count for p99, the machine became too slow for the load"
    )

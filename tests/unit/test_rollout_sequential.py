"""The sequential test: right however often it is asked; and it does find what is bad."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.rollout.bounds import share_bounds
from serving.rollout.sequential import Count, Judgement, Measure, Verdict, judge

MARGIN = 0.01


def errors(live: tuple[int, int], candidate: tuple[int, int], margin: float = MARGIN) -> Measure:
    return Measure(
        name="errors",
        margin=margin,
        live=Count(bad=live[0], of=live[1]),
        candidate=Count(bad=candidate[0], of=candidate[1]),
    )


def looked_at(
    rng: np.random.Generator, live: float, candidate: float, *, steps: int, step: int
) -> NDArray[np.int64]:
    """Bad answers of both arms so far, int64 [steps, 2], after every `step` answers of each."""
    return rng.binomial(step, (live, candidate), size=(steps, 2)).cumsum(axis=0)


def first_word(bad: NDArray[np.int64], *, step: int) -> tuple[Verdict, int]:
    """What is said first, and after how many answers of each arm."""
    for number, (of_live, of_candidate) in enumerate(bad, start=1):
        seen = number * step
        verdict = judge([errors((int(of_live), seen), (int(of_candidate), seen))]).verdict
        if verdict is not Verdict.GO_ON:
            return verdict, seen
    return Verdict.GO_ON, len(bad) * step


def z_value(bad: NDArray[np.int64], seen: int) -> float:
    """Of the textbook's test that two shares are the same."""
    pooled = bad.sum() / (2 * seen)
    spread = float(np.sqrt(2 * pooled * (1 - pooled) / seen))
    return float(bad[1] - bad[0]) / seen / spread if spread else 0.0


def test_an_equal_candidate_is_hardly_ever_rejected_however_often_one_looks() -> None:
    rng = np.random.default_rng(7)
    looks = [looked_at(rng, 0.02, 0.02, steps=100, step=50) for _ in range(100)]
    words = [first_word(bad, step=50)[0] for bad in looks]
    # Promised: at most 5 %.
    assert words.count(Verdict.REJECT) / len(words) <= 0.02
    # An ordinary test at 5 %, one-sided, keeps its promise at each look and not over all of them.
    ordinary = [any(z_value(row, 50 * n) > 1.645 for n, row in enumerate(bad, 1)) for bad in looks]
    assert sum(ordinary) / len(ordinary) > 0.2


def test_one_at_the_edge_of_what_is_taken_is_hardly_ever_accepted_or_rejected_wrongly() -> None:
    rng = np.random.default_rng(8)
    words = [
        first_word(looked_at(rng, 0.02, 0.02 + MARGIN, steps=100, step=50), step=50)[0]
        for _ in range(100)
    ]
    assert words.count(Verdict.REJECT) / len(words) <= 0.05
    assert words.count(Verdict.ACCEPT) / len(words) <= 0.05


@pytest.mark.parametrize(("candidate", "within"), [(1.0, 40), (0.5, 100), (0.2, 300), (0.08, 1800)])
def test_a_bad_one_is_found_the_sooner_the_worse_it_is(candidate: float, within: int) -> None:
    rng = np.random.default_rng(9)
    found = [
        first_word(looked_at(rng, 0.01, candidate, steps=1000, step=5), step=5) for _ in range(20)
    ]
    assert {verdict for verdict, _ in found} == {Verdict.REJECT}
    assert np.median([seen for _, seen in found]) <= within


def test_a_good_one_is_accepted_after_enough_answers() -> None:
    rng = np.random.default_rng(10)
    found = [
        first_word(looked_at(rng, 0.01, 0.01, steps=400, step=100), step=100) for _ in range(10)
    ]
    assert [verdict for verdict, _ in found].count(Verdict.ACCEPT) >= 9


def test_in_pairs_far_fewer_are_needed() -> None:
    # 6 % were much slower, as many much faster.
    apart = Measure(
        name="slower", margin=0.1, live=Count(bad=12, of=200), candidate=Count(bad=12, of=200)
    )
    assert verdict_of(apart) is Verdict.GO_ON
    assert verdict_of(replace(apart, paired=True)) is Verdict.ACCEPT
    half = Count(bad=100, of=200)
    assert verdict_of(replace(apart, paired=True, candidate=half)) is Verdict.REJECT


def test_one_bad_measure_is_enough_to_reject_and_all_are_needed_to_accept() -> None:
    good = errors((10, 100_000), (10, 100_000))
    bad = errors((0, 1000), (500, 1000))
    open_yet = errors((0, 3), (0, 3))
    assert verdict_of(good) is Verdict.ACCEPT
    assert verdict_of(good, bad) is Verdict.REJECT
    assert verdict_of(good, open_yet) is Verdict.GO_ON
    assert verdict_of(bad, open_yet) is Verdict.REJECT
    # Unless it is not waited for, which does not make it less of a reason to reject.
    assert verdict_of(good, replace(open_yet, needed=False)) is Verdict.ACCEPT
    assert verdict_of(good, replace(bad, needed=False)) is Verdict.REJECT


def test_a_share_that_ought_to_be_nought_needs_nobody_to_compare_with() -> None:
    few, many = Count(bad=3, of=1000), Count(bad=150, of=1000)
    measure = Measure(name="disagreed", margin=0.05, live=None, candidate=few)
    assert verdict_of(measure) is Verdict.ACCEPT
    assert verdict_of(replace(measure, candidate=many)) is Verdict.REJECT
    assert verdict_of(replace(measure, candidate=Count(bad=0, of=5))) is Verdict.GO_ON
    (finding,) = judge([measure]).findings
    assert finding.difference == pytest.approx(0.003)
    # Nothing is given away to a side that is known.
    assert (finding.low, finding.high) == pytest.approx(share_bounds(few.bad, few.of, 0.05))


def verdict_of(*measures: Measure) -> Verdict:
    return judge(list(measures)).verdict


def test_a_finding_says_its_figures() -> None:
    judged: Judgement = judge([errors((10, 1000), (200, 1000))])
    (finding,) = judged.findings
    assert finding.difference == pytest.approx(0.19)
    assert finding.low > MARGIN
    assert finding.text.startswith("errors: 200 of 1000 against 10 of 1000: +19.00% (+1")
    assert finding.text.endswith("at most +1.00% is taken")
    assert judged.text == finding.text


def test_what_cannot_be_is_refused() -> None:
    for bad, of in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"{bad} bad of {of}"):
            Count(bad=bad, of=of)
    with pytest.raises(ValueError, match="measures: none is needed"):
        judge([replace(errors((0, 1), (0, 1)), needed=False)])
    with pytest.raises(ValueError, match="alpha: must be above 0 and below 1"):
        judge([errors((0, 1), (0, 1))], alpha=1.0)

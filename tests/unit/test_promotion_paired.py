"""Two versions on the same samples: how often the comparison is wrong, by simulation."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from model_build.promotion.paired import Comparison, Scores, compare
from serving.versions.verdict import Outcome

MARGIN = 0.03
LIVE = 0.85
RUNS = 500


def outcomes(
    *,
    loss: float,
    wins: float = 0.02,
    groups: int = 1500,
    per_group: int = 1,
    likeness: float | None = None,
    named: bool = True,
    runs: int = RUNS,
) -> Counter[Outcome]:
    """Of comparisons of an accuracy, each on new samples.

    Args:
        loss: by which the candidate is worse in truth.
        wins: share of the samples that only the candidate gets right; `wins` + `loss` are those
            that only the live version does.
        groups: of samples.
        per_group: samples in each.
        likeness: groups differ in how often they are lost and won, by a beta distribution whose
            parameters add up to this; None: they do not; 0: they are lost wholly or not at all.
        named: whether the comparison is told of the groups.
        runs: comparisons.
    """
    rng = np.random.default_rng(3)
    names = [str(group) for group in range(groups) for _ in range(per_group)]
    found: Counter[Outcome] = Counter()
    for _ in range(runs):
        lost = _drawn(rng, wins + loss, groups, per_group, likeness)
        # Of those that it does not lose.
        won = _drawn(rng, wins / (1 - wins - loss), groups, per_group, likeness) & ~lost
        both = ~lost & ~won & (rng.random(groups * per_group) < LIVE)
        found[judged(both | won, both | lost, names if named else None).outcome] += 1
    return found


def _drawn(
    rng: np.random.Generator, share: float, groups: int, per_group: int, likeness: float | None
) -> NDArray[np.bool_]:
    if likeness == 0:
        return np.repeat(rng.random(groups) < share, per_group)
    chances = np.full(groups, share)
    if likeness is not None and share:
        chances = rng.beta(share * likeness, (1 - share) * likeness, groups)
    return np.asarray(rng.random(groups * per_group) < np.repeat(chances, per_group))


def judged(
    candidate: NDArray[np.bool_], live: NDArray[np.bool_], groups: list[str] | None = None
) -> Comparison:
    return compare(
        "accuracy",
        Scores.mean_of(candidate),
        Scores.mean_of(live),
        margin=MARGIN,
        groups=groups,
    )


@pytest.mark.parametrize("wins", [0.0, 0.005, 0.05])
def test_one_that_is_worse_by_just_the_margin_hardly_ever_passes_or_fails(wins: float) -> None:
    found = outcomes(loss=MARGIN, wins=wins)
    assert found[Outcome.PASSED] / RUNS <= 0.045
    assert found[Outcome.FAILED] / RUNS <= 0.045


def test_a_tie_is_never_a_loss_and_passes_once_the_samples_are_enough() -> None:
    for samples, passes in ((200, 0.0), (500, 0.3), (1500, 0.95)):
        found = outcomes(loss=0.0, wins=0.03, groups=samples)
        assert found[Outcome.FAILED] == 0
        assert found[Outcome.PASSED] / RUNS >= passes


def test_the_worse_a_version_the_surer_it_fails() -> None:
    assert outcomes(loss=2 * MARGIN)[Outcome.FAILED] / RUNS >= 0.9
    assert outcomes(loss=4 * MARGIN, groups=300)[Outcome.FAILED] / RUNS >= 0.9
    assert outcomes(loss=0.5, groups=40)[Outcome.FAILED] / RUNS >= 0.95


@pytest.mark.parametrize(
    ("groups", "per_group", "wins"), [(160, 9, 0.03), (60, 8, 0.03), (160, 9, 0.0), (60, 8, 0.0)]
)
def test_groups_that_differ_in_what_they_lose_are_borne_with(
    groups: int, per_group: int, wins: float
) -> None:
    found = outcomes(loss=MARGIN, wins=wins, groups=groups, per_group=per_group, likeness=10.0)
    assert found[Outcome.PASSED] / RUNS <= 0.075
    assert found[Outcome.FAILED] / RUNS <= 0.045


def test_without_the_groups_it_would_be_wrong_far_more_often() -> None:
    told, untold = (
        outcomes(loss=MARGIN, wins=0.05, groups=60, per_group=20, likeness=1.0, named=named)
        for named in (True, False)
    )
    assert told[Outcome.PASSED] / RUNS <= 0.075
    assert untold[Outcome.PASSED] / RUNS >= 0.15


def test_whole_groups_that_are_lost_are_missed_where_groups_are_few() -> None:
    few = outcomes(loss=MARGIN, wins=0.0, groups=60, per_group=8, likeness=0.0)
    many = outcomes(loss=MARGIN, wins=0.0, groups=1000, per_group=2, likeness=0.0)
    # As the module says.
    assert 0.08 <= few[Outcome.PASSED] / RUNS <= 0.2
    assert many[Outcome.PASSED] / RUNS <= 0.05


def test_agreement_on_few_samples_is_no_proof() -> None:
    few, enough = np.ones(130, np.bool_), np.ones(131, np.bool_)
    assert judged(few, few).outcome is Outcome.UNDECIDED
    assert judged(enough, enough).outcome is Outcome.PASSED
    one = np.ones(1, np.bool_)
    assert judged(one, one).outcome is Outcome.UNDECIDED
    # As wide as Tango's interval without a single difference: z^2 / (n + z^2).
    found = judged(enough, enough)
    assert found.high == -found.low == pytest.approx(3.8415 / (131 + 3.8415), rel=0.06)


def test_a_ratio_of_sums_lies_in_its_interval_as_often_as_it_should() -> None:
    """F1 of spans: the figures of both versions have denominators of their own."""
    rng = np.random.default_rng(5)
    truth = f1(rng, 400_000)[0]
    inside = 0
    for _ in range(RUNS):
        _, candidate, live = f1(rng, 600)
        found = compare("f1", candidate, live, margin=MARGIN)
        inside += found.low <= truth <= found.high
    assert 0.93 <= inside / RUNS <= 0.98


def f1(rng: np.random.Generator, count: int) -> tuple[float, Scores, Scores]:
    """The difference of the F1 of two versions that err in part on the same spans."""
    wanted = rng.binomial(2, 0.4, count)
    easy = rng.binomial(wanted, 0.75)
    sides = []
    for skill, noise in ((0.5, 0.08), (0.6, 0.05)):
        right = easy + rng.binomial(wanted - easy, skill)
        found = right + rng.binomial(1, noise, count)
        sides.append(Scores(gained=2.0 * right, possible=(wanted + found).astype(np.float64)))
    ours, theirs = (float(s.gained.sum() / s.possible.sum()) for s in sides)
    return ours - theirs, sides[0], sides[1]


def test_a_loss_is_judged_the_other_way_round() -> None:
    rng = np.random.default_rng(6)
    live = rng.exponential(1.0, 4000)
    worse, better = live + rng.normal(0.1, 0.1, 4000), live - rng.normal(0.1, 0.1, 4000)

    def loss(values: NDArray[np.float64]) -> Comparison:
        return compare(
            "log_loss",
            Scores.mean_of(values),
            Scores.mean_of(live),
            margin=0.02,
            lower_is_better=True,
        )

    assert loss(worse).outcome is Outcome.FAILED
    assert loss(better).outcome is Outcome.PASSED
    figure = loss(worse).figures[-1]
    assert (figure.name, figure.at_most, figure.at_least) == ("log_loss_change", 0.02, None)
    assert loss(worse).text.endswith(" at most +0.020 needed)")


def test_samples_without_a_part_in_the_figure_are_no_agreement() -> None:
    with_part = np.zeros(5000)
    with_part[:50] = 1.0
    scores = Scores(gained=with_part, possible=with_part)
    found = compare("slot_f1", scores, scores, margin=MARGIN)
    assert (found.samples, found.outcome) == (50, Outcome.UNDECIDED)


def test_a_comparison_tells_its_figures() -> None:
    candidate = np.arange(1000) >= 200
    found = judged(candidate, np.ones(1000, np.bool_))
    assert (found.candidate, found.live) == (0.8, 1.0)
    assert found.change == pytest.approx(-0.2)
    assert found.text == (
        "accuracy 0.800 against 1.000, -0.200 (-0.225 to -0.175, at least -0.030 needed)"
    )
    own, of_live, change = found.figures
    assert (own.value, of_live.value, change.at_least) == (0.8, 1.0, -MARGIN)
    assert change.low == pytest.approx(-0.225, abs=1e-3)


def test_what_cannot_be_compared_is_refused() -> None:
    some = Scores.mean_of([1.0, 0.0])
    with pytest.raises(ValueError, match=r"accuracy: .* do not match: \[2, 3\]"):
        compare("accuracy", some, Scores.mean_of([1.0, 0.0, 1.0]), margin=MARGIN)
    with pytest.raises(ValueError, match=r"do not match: \[1, 2\]"):
        compare("accuracy", some, some, margin=MARGIN, groups=["a"])
    nothing = Scores(gained=np.zeros(2), possible=np.zeros(2))
    with pytest.raises(ValueError, match="accuracy: there is nothing to compare on"):
        compare("accuracy", nothing, nothing, margin=MARGIN)

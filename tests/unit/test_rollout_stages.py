"""What a stage must show: more, the more customers come next; right however often it is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import ValidationError

from serving.rollout.counts import ArmCounts, Counts, ShadowCounts
from serving.rollout.durations import BUCKETS, bucket_of
from serving.rollout.record import Rollout
from serving.rollout.sequential import Count, Judgement, Verdict
from serving.rollout.stages import judge_stage, late_above, name_of, percent_of
from serving.settings import RolloutSettings

MODEL = "understanding"
SETTINGS = RolloutSettings()
FAST_MS, SLOW_MS = 10.0, 100.0
NOBODY = (Count(), Count())


def arm(of: int, *, bad: int = 0, slow: int = 0) -> ArmCounts:
    """Answers of Converse, a few of them slow."""
    durations = [0] * BUCKETS
    durations[bucket_of(SLOW_MS)] = slow
    durations[bucket_of(FAST_MS)] = of - bad - slow
    return ArmCounts(of=of, bad=bad, durations={"Converse": durations})


def shadow(of: int, *, failed: int = 0, disagreed: int = 0, slower: int = 0) -> ShadowCounts:
    return ShadowCounts(
        of=of, failed=failed, answered=of - failed, disagreed=disagreed, slower=slower
    )


def rollout_in(stage: int, before: Counts | None = None) -> Rollout:
    return Rollout(
        version=2,
        author="ada",
        reason="to see",
        stage=stage,
        stepped_at_ms=0,
        counting=True,
        before=before or Counts(),
        late_above={"Converse": bucket_of(FAST_MS)},
    )


def judged(
    stage: int,
    counts: Counts,
    *,
    feedback: tuple[Count, Count] = NOBODY,
    model: str = MODEL,
    before: Counts | None = None,
) -> Judgement:
    return judge_stage(model, rollout_in(stage, before), counts, feedback, SETTINGS)


def margins(stage: int) -> dict[str, float]:
    return {
        one.measure.name: one.measure.margin
        for one in judged(stage, Counts()).findings
        if one.measure.needed
    }


def test_the_stages_go_from_the_shadow_to_everybody() -> None:
    assert [percent_of(stage, SETTINGS) for stage in range(5)] == [0.0, 1.0, 10.0, 50.0, 100.0]
    assert name_of(0, SETTINGS) == "shadow"
    assert name_of(2, SETTINGS) == "canary 10 %"


def test_the_more_customers_come_next_the_less_is_taken() -> None:
    for name, expected in (
        ("failed or degraded", [0.05, 0.01, 0.005]),
        ("later than live's p99", [0.1, 0.04, 0.02]),
    ):
        assert [margins(stage)[name] for stage in (1, 2, 3)] == pytest.approx(expected)
    # A shadow answers nobody: what it shows is all that there is.
    assert set(margins(0)) == {
        "failed as a shadow",
        "much slower on the same request",
        "answered otherwise than live",
    }


def test_an_encoder_may_answer_otherwise() -> None:
    names = [one.measure.name for one in judged(0, Counts(), model="encoder").findings]
    assert "answered otherwise than live" not in names


def test_a_shadow_that_does_as_live_does_is_accepted() -> None:
    assert judged(0, Counts(shadow=shadow(20))).verdict is Verdict.GO_ON
    assert judged(0, Counts(shadow=shadow(1000, disagreed=50))).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        (shadow(30, failed=30), "failed as a shadow"),
        (shadow(200, failed=30), "failed as a shadow"),
        (shadow(60, slower=50), "much slower on the same request"),
        (shadow(60, disagreed=40), "answered otherwise than live"),
    ],
)
def test_a_bad_shadow_is_rejected_by_name(counts: ShadowCounts, name: str) -> None:
    judgement = judged(0, Counts(shadow=counts))
    assert judgement.verdict is Verdict.REJECT
    assert judgement.text.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (arm(12, bad=12), "failed or degraded"),
        (arm(12, slow=12), "later than live's p99"),
        (arm(300, bad=40), "failed or degraded"),
        (arm(300, slow=70), "later than live's p99"),
    ],
)
def test_a_bad_canary_is_rejected_after_a_few_answers(candidate: ArmCounts, name: str) -> None:
    judgement = judged(1, Counts(live=arm(1200, slow=12), candidate=candidate))
    assert judgement.verdict is Verdict.REJECT
    assert judgement.text.startswith(f"{name}: ")


def test_a_good_canary_is_accepted_the_later_the_more_customers_come_next() -> None:
    def needed(stage: int) -> int:
        return next(
            of
            for of in range(50, 20_000, 50)
            if judged(stage, Counts(live=arm(of), candidate=arm(of))).verdict is Verdict.ACCEPT
        )

    first, second, third = needed(1), needed(2), needed(3)
    assert first < 500
    assert first < second < third < 6000


def test_what_was_counted_before_the_stage_does_not_count() -> None:
    before = Counts(live=arm(100), candidate=arm(100, bad=90))
    now = before.plus(Counts(live=arm(500), candidate=arm(500)))
    assert judged(1, now, before=before).verdict is Verdict.ACCEPT
    assert judged(1, now).verdict is Verdict.REJECT


def test_bad_feedback_rejects_and_is_not_waited_for() -> None:
    good = Counts(live=arm(500), candidate=arm(500))
    assert judged(1, good, feedback=NOBODY).verdict is Verdict.ACCEPT
    bad = (Count(bad=10, of=200), Count(bad=30, of=40))
    judgement = judged(1, good, feedback=bad)
    assert judgement.verdict is Verdict.REJECT
    assert judgement.text.startswith("bad feedback: 30 of 40 against 10 of 200: +70.00%")


def test_a_canary_is_rejected_for_what_it_says_otherwise_to_those_whom_live_answers() -> None:
    counts = Counts(live=arm(500), candidate=arm(500), shadow=shadow(200, disagreed=150))
    judgement = judged(1, counts)
    assert judgement.verdict is Verdict.REJECT
    assert judgement.text.startswith("answered otherwise than live: 150 of 200: ")


def test_late_is_what_takes_longer_than_99_of_100_calls_of_the_same_method() -> None:
    live = arm(1000, slow=5)
    assert late_above(live) == {"Converse": bucket_of(FAST_MS)}
    assert late_above(arm(1000, slow=50)) == {"Converse": bucket_of(SLOW_MS)}
    # Of too few nothing is known.
    assert late_above(arm(99)) == {}


def test_shares_that_do_not_rise_are_refused() -> None:
    for shares in ((), (10, 1), (5, 5), (0, 5), (5, 100)):
        with pytest.raises(ValidationError, match="shares"):
            RolloutSettings.model_validate({"shares": shares})


# ---- how often it errs, by simulation ----------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Chances of a version."""

    bad: float = 0.002
    slow: float = 0.01
    disagreed: float = 0.05


def simulated(rng: np.random.Generator, candidate: Truth, *, looks: int, each: int) -> str:
    """A whole rollout with `looks` looks at a stage at most, after `each` requests of both arms."""
    live = Truth()
    for stage in range(len(SETTINGS.shares) + 1):
        share = percent_of(stage, SETTINGS) / 100.0
        counts = Counts()
        for _ in range(looks):
            counts = counts.plus(_requests(rng, live, candidate, share, each))
            verdict = judged(stage, counts).verdict
            if verdict is Verdict.REJECT:
                return f"rejected in {stage}"
            if verdict is Verdict.ACCEPT:
                break
        else:
            return f"undecided in {stage}"
    return "live"


def _requests(
    rng: np.random.Generator, live: Truth, candidate: Truth, share: float, each: int
) -> Counts:
    def of_arm(truth: Truth, of: int) -> ArmCounts:
        bad = int(rng.binomial(of, truth.bad))
        return arm(of, bad=bad, slow=int(rng.binomial(of - bad, truth.slow)))

    of = int(rng.binomial(each, share))
    disagreed = int(rng.binomial(each - of, candidate.disagreed))
    failed = int(rng.binomial(each - of, candidate.bad))
    return Counts(
        live=of_arm(live, each - of),
        candidate=of_arm(candidate, of),
        shadow=shadow(each - of, failed=failed, disagreed=min(disagreed, each - of - failed)),
    )


def outcomes(
    candidate: Truth, runs: int, *, looks: int = 300, each: int = 800
) -> Callable[[Sequence[str]], float]:
    rng = np.random.default_rng(12)
    found = [simulated(rng, candidate, looks=looks, each=each) for _ in range(runs)]
    return lambda wanted: sum(one.startswith(tuple(wanted)) for one in found) / runs


def test_a_version_as_good_as_live_goes_live_and_is_hardly_ever_rejected() -> None:
    share_of = outcomes(Truth(), runs=30)
    # Promised for the whole rollout, whatever the number of looks: at most 5 %.
    assert share_of(["rejected"]) <= 0.05
    assert share_of(["live"]) >= 0.9


@pytest.mark.parametrize(
    "candidate", [Truth(bad=0.08), Truth(slow=0.2), Truth(disagreed=0.25)], ids=str
)
def test_a_version_beyond_the_margins_never_goes_live(candidate: Truth) -> None:
    share_of = outcomes(candidate, runs=15)
    assert share_of(["live"]) == 0.0
    assert share_of(["rejected"]) >= 0.9

"""The stages of a rollout and what each must show: pure rules over counts.

    shadow ─▶ 1 % ─▶ 10 % ─▶ 50 % ─▶ live

A stage is accepted when what the *next* one may do to customers is bounded: the margin of a measure
is its budget divided by the next stage's share, so that few answers suffice for a small share and
many are needed before everybody gets the version. The chance of a wrong word over the whole rollout
is shared by its stages (Bonferroni).
"""

from collections.abc import Mapping, Sequence

from serving.rollout.counts import ArmCounts, Counts
from serving.rollout.durations import quantile_bucket
from serving.rollout.record import Rollout
from serving.rollout.sequential import Count, Judgement, Measure, judge
from serving.settings import RolloutSettings

# Largest margin, whatever the next share.
_WIDEST = 0.05
_WIDEST_LATE = 0.1
# Of pairs in which one side took much longer, so many more may be the candidate's.
_SLOWER = 0.1
# Calls of a method from which its 99th percentile is taken.
_ENOUGH_CALLS = 100
_LATE_SHARE = 0.99


def percent_of(stage: int, settings: RolloutSettings) -> float:
    """Share of the customers that the candidate answers in a stage; 100 after the last."""
    if stage == 0:
        return 0.0
    return settings.shares[stage - 1] if stage <= len(settings.shares) else 100.0


def name_of(stage: int, settings: RolloutSettings) -> str:
    """Of a stage, e.g. "shadow" or "canary 10 %"."""
    return f"canary {percent_of(stage, settings):g} %" if stage else "shadow"


def late_above(live: ArmCounts) -> dict[str, int]:
    """By method, the bucket of the 99th percentile; without those of which too few are known."""
    return {
        method: quantile_bucket(counts, _LATE_SHARE)
        for method, counts in live.durations.items()
        if sum(counts) >= _ENOUGH_CALLS
    }


def judge_stage(
    model: str,
    rollout: Rollout,
    total: Counts,
    feedback: tuple[Count, Count],
    settings: RolloutSettings,
) -> Judgement:
    """What the stage has shown so far.

    Args:
        model: that is rolled out.
        rollout: as it stands.
        total: counts of the experiment up to now.
        feedback: of the live version's and of the candidate's answers since the stage began: how
            many were found bad.
        settings: shares, budgets and the chance of error.
    """
    counts = total.since(rollout.before)
    measures = [
        *_of_shadow(model, counts, settings, needed=rollout.stage == 0),
        *(_of_arms(rollout, counts, feedback, settings) if rollout.stage else ()),
    ]
    return judge(measures, settings.alpha / (len(settings.shares) + 1))


def _of_shadow(
    model: str, counts: Counts, settings: RolloutSettings, *, needed: bool
) -> Sequence[Measure]:
    shadow = counts.shadow
    measures = [
        Measure(
            name="failed as a shadow",
            margin=_WIDEST,
            live=None,
            candidate=Count(bad=shadow.failed, of=shadow.of),
            needed=needed,
        ),
        Measure(
            name="much slower on the same request",
            margin=_SLOWER,
            live=Count(bad=shadow.faster, of=shadow.answered),
            candidate=Count(bad=shadow.slower, of=shadow.answered),
            paired=True,
            needed=needed,
        ),
    ]
    if model not in settings.incomparable:
        disagreed = Measure(
            name="answered otherwise than live",
            margin=settings.disagreement,
            live=None,
            candidate=Count(bad=shadow.disagreed, of=shadow.answered),
            needed=needed,
        )
        measures.append(disagreed)
    return measures


def _of_arms(
    rollout: Rollout, counts: Counts, feedback: tuple[Count, Count], settings: RolloutSettings
) -> Sequence[Measure]:
    next_share = percent_of(rollout.stage + 1, settings) / 100.0
    return [
        Measure(
            name="failed or degraded",
            margin=min(_WIDEST, settings.failures / next_share),
            live=Count(bad=counts.live.bad, of=counts.live.of),
            candidate=Count(bad=counts.candidate.bad, of=counts.candidate.of),
        ),
        Measure(
            name="later than live's p99",
            margin=min(_WIDEST_LATE, settings.late / next_share),
            live=_late(counts.live, rollout.late_above),
            candidate=_late(counts.candidate, rollout.late_above),
        ),
        # Too rare to wait for.
        Measure(
            name="bad feedback",
            margin=settings.bad_feedback,
            live=feedback[0],
            candidate=feedback[1],
            needed=False,
        ),
    ]


def _late(arm: ArmCounts, late_above: Mapping[str, int]) -> Count:
    late = of = 0
    for method, bucket in late_above.items():
        counts = arm.durations.get(method, ())
        late += sum(counts[bucket + 1 :])
        of += sum(counts)
    return Count(bad=late, of=of)

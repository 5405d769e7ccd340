"""Takes the steps of rollouts: on when a stage is accepted, back when it is rejected.

It runs in every replica of the ingress, and keeps nothing to itself: how a rollout stands lies
beside the line-up, every step is taken upon the revision that it was judged by, and whoever comes
second finds it taken. So a rollout goes on whatever process is killed, as long as one serves.
"""

import asyncio
import logging
import textwrap
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

from serving.errors import CartwrightError, Conflict, FailedPrecondition, StoreUnavailable
from serving.models.version import ModelVersion
from serving.rollout.counts import Counts
from serving.rollout.counts_file import CountsFile
from serving.rollout.record import Rollout
from serving.rollout.sequential import Count, Judgement, Verdict
from serving.rollout.stages import judge_stage, late_above, name_of, percent_of
from serving.settings import RolloutSettings
from serving.versions import lineup as steps
from serving.versions.lineup import MAX_TEXT, Step
from serving.versions.readiness import Readiness
from serving.versions.store import Entry, VersionStore

logger = logging.getLogger(__name__)

PERIOD_S = 0.5
# Behind the author of a rollout, in its steps.
_BY_ITSELF = " (auto)"
# By version and arm: how many ratings were bad, and how many there were.
Ratings = Mapping[tuple[int, str], tuple[int, int]]


class RolloutJudge:
    """What the present stages of rollouts have shown. Blocking."""

    def __init__(
        self,
        counts: CountsFile,
        ratings: Callable[[str, int], Ratings],
        settings: RolloutSettings,
    ) -> None:
        """Takes where to look.

        Args:
            counts: of all processes.
            ratings: customers' ratings of a model's answers since a Unix time in milliseconds.
            settings: shares, budgets and the chance of error.
        """
        self._counts = counts
        self._ratings = ratings
        self.settings = settings

    def total(self, entry: Entry) -> Counts:
        """Of a model's experiment up to now.

        Raises:
            StoreUnavailable: the counts cannot be read.
        """
        return self._counts.total(entry.model, entry.lineup.salt)

    def judge(self, entry: Entry, rollout: Rollout, total: Counts) -> Judgement:
        """Of a rollout that is counting.

        Raises:
            StoreUnavailable: the ratings cannot be read.
        """
        ratings = self._ratings(entry.model, rollout.stepped_at_ms)
        live = ratings.get((entry.lineup.live or 0, "live"), (0, 0))
        candidate = ratings.get((rollout.version, "canary"), (0, 0))
        feedback = (Count(bad=live[0], of=live[1]), Count(bad=candidate[0], of=candidate[1]))
        return judge_stage(entry.model, rollout, total, feedback, self.settings)


class Conductor:
    """Conducts all rollouts. Blocking; any number of processes may do it at once."""

    def __init__(
        self,
        store: VersionStore,
        judge: RolloutJudge,
        readiness: Readiness,
        promotion: Callable[[str, int, bool], Step],
        *,
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        """Takes where to look.

        Args:
            store: of the line-ups and rollouts.
            judge: of the stages.
            readiness: of the versions.
            promotion: the step that makes a version of a model live if its gates let it; forced
                if the third says so.
            clock_ms: Unix time in milliseconds.
        """
        self._store = store
        self._judge = judge
        self._settings = judge.settings
        self._readiness = readiness
        self._promotion = promotion
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)

    def look(self) -> None:
        """Takes every step that is due; one that cannot be taken now is logged and left for later.

        Raises:
            StoreUnavailable: the line-ups cannot be read.
        """
        for entry, rollout in self._store.rollouts():
            try:
                if rollout.counting:
                    self._conduct(entry, rollout)
                else:
                    self._begin(entry, rollout)
            except Conflict:
                # Another replica was faster, or somebody took another step.
                continue
            except CartwrightError as error:
                # Others must not wait for it, least of all one that is bad.
                logger.error("%s: the rollout waits: %s", entry.model, error.message)  # noqa: TRY400 - the text says it all

    def _begin(self, entry: Entry, rollout: Rollout) -> None:
        """Waits until the version is ready everywhere; then the stage counts."""
        version = ModelVersion(entry.model, rollout.version)
        faults = self._readiness.faults(version)
        if faults:
            why = "; ".join(f"{where}: {fault}" for where, fault in sorted(faults.items()))
            self._withdraw(entry, rollout, f"it cannot be served: {why}")
            return
        lacks = self._readiness.lacks(version)
        if lacks:
            if self._for_s(rollout) > self._settings.max_load_s:
                late = f"not ready everywhere after {self._settings.max_load_s:g} s"
                self._withdraw(entry, rollout, f"{late}: {'; '.join(lacks)}")
            return
        self._store.change_rollout(entry, rollout, self._counting(entry, rollout))

    def _conduct(self, entry: Entry, rollout: Rollout) -> None:
        total = self._judge.total(entry)
        judgement = self._judge.judge(entry, rollout, total)
        stage = name_of(rollout.stage, self._settings)
        match judgement.verdict:
            case Verdict.REJECT:
                self._withdraw(entry, rollout, f"rejected as {stage}: {judgement.text}")
            case Verdict.ACCEPT if self._may_go_on(rollout, total):
                self._advance(entry, rollout, f"accepted as {stage}: {judgement.text}")
            case _ if self._for_s(rollout) > self._settings.max_stage_s:
                late = f"undecided as {stage} after {self._settings.max_stage_s:g} s"
                self._withdraw(entry, rollout, f"{late}: {judgement.text}")
            case _:
                return

    def _may_go_on(self, rollout: Rollout, total: Counts) -> bool:
        # What is late is told by calls that were answered before the stage that asks for it.
        return self._for_s(rollout) >= self._settings.min_stage_s and bool(late_above(total.live))

    def _advance(self, entry: Entry, rollout: Rollout, why: str) -> None:
        share = percent_of(rollout.stage + 1, self._settings)
        version = rollout.version
        if share >= 100.0:
            promotion = self._promotion(entry.model, version, rollout.forced)
            try:
                self._take(entry, rollout, promotion, f"promote {version}", why, None)
            except FailedPrecondition as error:
                # Its gates were asked before it began; something has changed since.
                self._withdraw(entry, rollout, f"{why}; but {error.message}")
            return
        lacks = self._readiness.lacks(ModelVersion(entry.model, version))
        if lacks:
            return
        after = self._counting(entry, rollout).model_copy(
            update={"stage": rollout.stage + 1, "stepped_at_ms": self._clock_ms()}
        )
        step = partial(steps.canary, version=version, percent=share)
        self._take(entry, rollout, step, f"canary {version} {share:g}%", why, after)

    def _withdraw(self, entry: Entry, rollout: Rollout, why: str) -> None:
        self._take(entry, rollout, steps.rollback, "rollback", why, None)
        logger.warning("%s: version %d is withdrawn: %s", entry.model, rollout.version, why)

    def _take(
        self,
        entry: Entry,
        rollout: Rollout,
        step: Step,
        action: str,
        why: str,
        after: Rollout | None,
    ) -> None:
        self._store.apply(
            entry.model,
            step,
            action=action,
            author=f"{rollout.author[: MAX_TEXT - len(_BY_ITSELF)]}{_BY_ITSELF}",
            reason=textwrap.shorten(why, MAX_TEXT, placeholder=" …"),
            expected_revision=entry.revision,
            forced=rollout.forced and action.startswith("promote"),
            rollout=after,
        )

    def _counting(self, entry: Entry, rollout: Rollout) -> Rollout:
        """The rollout with a stage that counts from now on."""
        total = self._judge.total(entry)
        update = {
            "counting": True,
            "before": total,
            "late_above": late_above(total.live),
            "stepped_at_ms": self._clock_ms(),
        }
        return rollout.model_copy(update=update)

    def _for_s(self, rollout: Rollout) -> float:
        return (self._clock_ms() - rollout.stepped_at_ms) / 1000.0


async def keep_conducting(
    conductor: Conductor, tried: Callable[[], Collection[str]], *, period_s: float = PERIOD_S
) -> None:
    """Looks again and again until it is cancelled.

    Args:
        conductor: that looks.
        tried: models with a version that is tried; without any there is nothing to look at.
        period_s: seconds between two looks.
    """
    while True:
        await asyncio.sleep(period_s)
        if not tried():
            continue
        try:
            await asyncio.to_thread(conductor.look)
        except StoreUnavailable as error:
            logger.warning("rollouts wait: %s", error.message)
        except Exception:
            # Whatever it is: a version on trial must not be left to itself for ever.
            logger.exception("rollouts were not looked at")

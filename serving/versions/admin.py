"""Steps of versions as an admin takes them: checked against what is published and what is ready."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from serving.errors import FailedPrecondition, InvalidRequest, NotFound, StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from serving.models.verification import VerifiedModels
from serving.models.version import ModelVersion
from serving.rollout.conductor import RolloutJudge
from serving.rollout.record import Rollout
from serving.rollout.sequential import Judgement
from serving.rollout.stages import name_of
from serving.versions import lineup as steps
from serving.versions.gatekeeping import gated_promotion
from serving.versions.lineup import Lineup, Stage, Step, StepRefused
from serving.versions.readiness import REPLICA, Readiness
from serving.versions.store import Entry, VersionStore
from serving.versions.verdict import Gate, Outcome

# Of a version that is published and that nobody has staged.
PUBLISHED = "published"


class Action(StrEnum):
    """What can be done with a version."""

    STAGE = "stage"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RELEASE = "release"
    # Shadow, canaries and promotion, each as soon as the one before has gone well.
    ROLL_OUT = "roll out"


_WITH_VERSION = frozenset(Action) - {Action.ROLLBACK, Action.RELEASE}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A step that somebody wants to take."""

    model: str
    action: Action
    version: int = 0
    canary_percent: float = 0.0
    author: str
    reason: str
    # None takes what is there.
    expected_revision: int | None = None
    force: bool = False

    def words(self) -> str:
        """For the history, e.g. "canary 4 10%"."""
        parts: list[str] = [self.action.value]
        if self.action in _WITH_VERSION:
            parts.append(str(self.version))
        if self.action is Action.CANARY:
            parts.append(f"{self.canary_percent:g}%")
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class VersionState:
    """One version as it is now."""

    version: int
    # A `Stage`, or `PUBLISHED`.
    stage: str
    # None if its manifest cannot be read any more.
    manifest: ModelManifest | None
    ready_host_ids: tuple[str, ...]
    # By host id or `REPLICA`: why it cannot be served there.
    faults: Mapping[str, str]
    # Whether this process has its files open.
    open: bool


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """A promotion that goes on by itself."""

    rollout: Rollout
    # E.g. "canary 10 %".
    stage: str
    # None while the version is being loaded.
    judgement: Judgement | None


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """A model with all of its versions."""

    lineup: Lineup
    # The last step; None if nobody has taken one.
    entry: Entry | None
    versions: tuple[VersionState, ...]
    serving_host_ids: tuple[str, ...]
    # None unless one goes on now.
    rollout: RolloutState | None


class ModelAdmin:
    """Shows and changes the line-ups. Blocking: not for an event loop's thread."""

    def __init__(
        self,
        store: VersionStore,
        models: ModelRepository,
        names: Sequence[str],
        readiness: Readiness,
        judge: RolloutJudge,
        gates: Sequence[Gate] = (),
    ) -> None:
        """Takes where to look.

        Args:
            store: of the line-ups.
            models: what is published.
            names: the models that there are.
            readiness: of the versions.
            judge: of rollouts.
            gates: that a version must have passed before it is promoted.
        """
        self.store = store
        self.readiness = readiness
        self._models = models
        self._verified = VerifiedModels(models)
        self._names = tuple(names)
        self.judge = judge
        self._gates = tuple(gates)

    def show(self, model: str) -> ModelState:
        """Every version of a model.

        Raises:
            NotFound: there is no such model.
            StoreUnavailable: the line-ups cannot be read.
        """
        self._require(model)
        entry, rollout = self.store.newest(model)
        lineup = Lineup(model=model) if entry is None else entry.lineup
        numbers = sorted({*self._models.versions(model), *lineup.known})
        return ModelState(
            lineup=lineup,
            entry=entry,
            versions=tuple(self._state(lineup, number) for number in numbers),
            serving_host_ids=self.readiness.serving_host_ids(),
            rollout=self._rollout(entry, rollout),
        )

    def history(self, model: str, limit: int) -> list[Entry]:
        """The last steps, the newest first.

        Raises:
            NotFound: there is no such model.
            StoreUnavailable: the line-ups cannot be read.
        """
        self._require(model)
        return self.store.history(model, limit)

    def change(self, change: Change) -> ModelState:
        """Takes a step and shows what came of it.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: version, share, author or reason is unusable.
            FailedPrecondition: the line-up does not allow it, or a version is not ready everywhere.
            Conflict: somebody was faster.
            StoreUnavailable: the line-ups cannot be written.
        """
        self._require(change.model)
        if change.action in _WITH_VERSION and change.version < 1:
            raise InvalidRequest("version", f"must be at least 1, got {change.version}")
        if change.action is Action.STAGE:
            self._require_published(change.model, change.version)
        rollout = None
        if change.action is Action.ROLL_OUT:
            rollout = Rollout(
                version=change.version,
                author=change.author,
                reason=change.reason,
                forced=change.force,
                stepped_at_ms=time.time_ns() // 1_000_000,
            )
        self.store.apply(
            change.model,
            partial(self._step, change, self._step_of(change)),
            action=change.words(),
            author=change.author,
            reason=change.reason,
            expected_revision=change.expected_revision,
            forced=change.force,
            rollout=rollout,
        )
        return self.show(change.model)

    def _step(self, change: Change, step: Step, lineup: Lineup) -> Lineup:
        """The next line-up; what shall answer has to be ready."""
        after = step(lineup)
        if not change.force:
            answering = {after.live: "live"}
            if after.canary_percent > 0:
                answering[after.candidate] = "canary"
            before = {lineup.live} | ({lineup.candidate} if lineup.canary_percent > 0 else set())
            for version, stage in answering.items():
                if version is not None and version not in before:
                    self._require_ready(ModelVersion(change.model, version), stage)
        return after

    def _step_of(self, change: Change) -> Step:
        version = change.version
        match change.action:
            case Action.STAGE:
                return partial(steps.stage, version=version)
            case Action.SHADOW:
                return partial(steps.shadow, version=version)
            case Action.CANARY:
                return partial(steps.canary, version=version, percent=change.canary_percent)
            case Action.PROMOTE:
                return self.promotion(change.model, version, change.force)
            case Action.ROLLBACK:
                return steps.rollback
            case Action.RELEASE:
                return steps.release
            case Action.ROLL_OUT:
                # Refused now rather than after hours.
                may = self.promotion(change.model, version, change.force)
                return partial(_shadow_if, may, version=version)

    def promotion(self, model: str, version: int, force: bool) -> Step:
        """The step that makes a version live if its gates let it.

        Raises:
            StoreUnavailable: the verdicts cannot be read.
        """
        verdicts = self.store.verdicts(model, version)
        # A gate that need not be asked counts once it has found something bad.
        failed = (one.gate for one in verdicts if one.outcome is Outcome.FAILED)
        needed = dict.fromkeys((*self._gates, *failed))
        return gated_promotion(version, needed, verdicts, force=force)

    def _rollout(self, entry: Entry | None, rollout: Rollout | None) -> RolloutState | None:
        if entry is None or rollout is None:
            return None
        judgement = None
        if rollout.counting:
            judgement = self.judge.judge(entry, rollout, self.judge.total(entry))
        stage = name_of(rollout.stage, self.judge.settings)
        return RolloutState(rollout=rollout, stage=stage, judgement=judgement)

    def _require(self, model: str) -> None:
        if model not in self._names:
            raise NotFound(f"model: there is no model {model!r}, only {', '.join(self._names)}")

    def _require_published(self, model: str, version: int) -> None:
        if version not in self._models.versions(model):
            raise FailedPrecondition(f"{model}: version {version} is not published")
        try:
            self._verified.verify(ModelVersion(model, version))
        except StartupError as error:
            raise FailedPrecondition(error.message) from error

    def _require_ready(self, version: ModelVersion, stage: str) -> None:
        lacks = self.readiness.lacks(version)
        if lacks:
            raise StepRefused(
                f"{version.model}: version {version.version} cannot become {stage} before it is "
                f"ready everywhere ({'; '.join(lacks)}); `shadow` loads it"
            )

    def _state(self, lineup: Lineup, number: int) -> VersionState:
        version = ModelVersion(lineup.model, number)
        stage: Stage | None = lineup.stage_of(number)
        faults = self.readiness.faults(version)
        manifest: ModelManifest | None = None
        try:
            manifest = self._models.version(*version).manifest
        except StartupError as error:
            faults.setdefault(REPLICA, error.message)
        return VersionState(
            version=number,
            stage=PUBLISHED if stage is None else stage.value,
            manifest=manifest,
            ready_host_ids=self.readiness.host_ids(version),
            faults=faults,
            open=self.readiness.is_open(version),
        )


def _shadow_if(may: Step, lineup: Lineup, *, version: int) -> Lineup:
    """The version as a shadow, if it may be promoted in the end."""
    shadow = steps.shadow(lineup, version)
    may(lineup)
    return shadow

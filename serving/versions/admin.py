"""Steps of versions as an admin takes them: checked against what is published and what is ready."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from serving.errors import FailedPrecondition, InvalidRequest, NotFound, StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.triton.records import HostRecord, HostState
from serving.versions import lineup as steps
from serving.versions.gatekeeping import gated_promotion
from serving.versions.lineup import Lineup, Stage, Step, StepRefused
from serving.versions.store import Entry, VersionStore
from serving.versions.verdict import Gate

# Of a version that is published and that nobody has staged.
PUBLISHED = "published"
# Where a version cannot be opened, beside the hosts' ids.
REPLICA = "replica"


class Action(StrEnum):
    """What can be done with a version."""

    STAGE = "stage"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RELEASE = "release"


_WITH_VERSION = frozenset({Action.STAGE, Action.SHADOW, Action.CANARY, Action.PROMOTE})


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
class ModelState:
    """A model with all of its versions."""

    lineup: Lineup
    # The last step; None if nobody has taken one.
    entry: Entry | None
    versions: tuple[VersionState, ...]
    serving_host_ids: tuple[str, ...]


class ModelAdmin:
    """Shows and changes the line-ups. Blocking: not for an event loop's thread."""

    def __init__(
        self,
        store: VersionStore,
        models: ModelRepository,
        names: Sequence[str],
        hosts: Callable[[], Sequence[HostRecord]],
        faults: Callable[[], Mapping[ModelVersion, str]],
        opened: Callable[[], Container[ModelVersion]],
        gates: Sequence[Gate] = (),
    ) -> None:
        """Takes where to look.

        Args:
            store: of the line-ups.
            models: what is published.
            names: the models that there are.
            hosts: the hosts known now.
            faults: versions that cannot be opened in this process, and why.
            opened: versions that are.
            gates: that a version must have passed before it is promoted.
        """
        self._store = store
        self._models = models
        self._names = tuple(names)
        self._hosts = hosts
        self._faults = faults
        self._opened = opened
        self._gates = tuple(gates)

    def show(self, model: str) -> ModelState:
        """Every version of a model.

        Raises:
            NotFound: there is no such model.
            StoreUnavailable: the line-ups cannot be read.
        """
        self._require(model)
        entry = self._store.read_all().get(model)
        lineup = Lineup(model=model) if entry is None else entry.lineup
        numbers = sorted({*self._models.versions(model), *lineup.known})
        return ModelState(
            lineup=lineup,
            entry=entry,
            versions=tuple(self._state(lineup, number) for number in numbers),
            serving_host_ids=tuple(
                host.host_id for host in self._hosts() if host.state is HostState.READY
            ),
        )

    def history(self, model: str, limit: int) -> list[Entry]:
        """The last steps, the newest first.

        Raises:
            NotFound: there is no such model.
            StoreUnavailable: the line-ups cannot be read.
        """
        self._require(model)
        return self._store.history(model, limit)

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
        self._store.apply(
            change.model,
            partial(self._step, change, self._step_of(change)),
            action=change.words(),
            author=change.author,
            reason=change.reason,
            expected_revision=change.expected_revision,
            forced=change.force,
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
                verdicts = self._store.verdicts(change.model, version)
                # A gate that was asked counts, whether or not it had to be.
                needed = dict.fromkeys((*self._gates, *(verdict.gate for verdict in verdicts)))
                return gated_promotion(version, needed, verdicts, force=change.force)
            case Action.ROLLBACK:
                return steps.rollback
            case Action.RELEASE:
                return steps.release

    def _require(self, model: str) -> None:
        if model not in self._names:
            raise NotFound(f"model: there is no model {model!r}, only {', '.join(self._names)}")

    def _require_published(self, model: str, version: int) -> None:
        if version not in self._models.versions(model):
            raise FailedPrecondition(f"{model}: version {version} is not published")
        try:
            self._models.version(model, version).verify()
        except StartupError as error:
            raise FailedPrecondition(error.message) from error

    def _require_ready(self, version: ModelVersion, stage: str) -> None:
        """Hosts that are down do not count: they load it before they are ready again."""
        reasons = [
            f"{host.host_id}: {host.faults.get(str(version), 'not loaded yet')}"
            for host in self._hosts()
            if host.state is HostState.READY
            and version.version not in host.ready_models.get(version.model, ())
        ]
        if version not in self._opened():
            reasons.append(f"{REPLICA}: {self._faults().get(version, 'not open yet')}")
        if not any(host.state is HostState.READY for host in self._hosts()):
            reasons.append("no host is ready")
        if reasons:
            raise StepRefused(
                f"{version.model}: version {version.version} cannot become {stage} before it is "
                f"ready everywhere ({'; '.join(reasons)}); `shadow` loads it"
            )

    def _state(self, lineup: Lineup, number: int) -> VersionState:
        version = ModelVersion(lineup.model, number)
        stage: Stage | None = lineup.stage_of(number)
        faults = {
            host.host_id: host.faults[str(version)]
            for host in self._hosts()
            if str(version) in host.faults
        }
        manifest: ModelManifest | None = None
        try:
            manifest = self._models.version(*version).manifest
        except StartupError as error:
            faults[REPLICA] = error.message
        if version in self._faults():
            faults[REPLICA] = self._faults()[version]
        return VersionState(
            version=number,
            stage=PUBLISHED if stage is None else stage.value,
            manifest=manifest,
            ready_host_ids=tuple(
                host.host_id
                for host in self._hosts()
                if host.state is HostState.READY
                and number in host.ready_models.get(lineup.model, ())
            ),
            faults=faults,
            open=version in self._opened(),
        )

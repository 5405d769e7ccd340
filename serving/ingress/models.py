"""What serves and what should, as cartwright.v1.Models shows it: pure over what is known."""

from collections.abc import Callable, Mapping, Sequence

from serving.assets import ModelAssets
from serving.errors import InvalidRequest
from serving.ingress.encode import meta
from serving.models.version import ModelVersion
from serving.protos import commerce_pb2 as pb
from serving.rollout.sequential import Finding
from serving.triton.records import HostRecord, HostState
from serving.types import Report
from serving.versions.admin import Action, Change, ModelState, RolloutState, VersionState
from serving.versions.lineup import Lineup
from serving.versions.store import Entry

_STATES = {
    HostState.STARTING: pb.HOST_STATE_STARTING,
    HostState.READY: pb.HOST_STATE_READY,
    HostState.DOWN: pb.HOST_STATE_DOWN,
}


_ACTIONS = {
    pb.MODEL_ACTION_STAGE: Action.STAGE,
    pb.MODEL_ACTION_SHADOW: Action.SHADOW,
    pb.MODEL_ACTION_CANARY: Action.CANARY,
    pb.MODEL_ACTION_PROMOTE: Action.PROMOTE,
    pb.MODEL_ACTION_ROLLBACK: Action.ROLLBACK,
    pb.MODEL_ACTION_RELEASE: Action.RELEASE,
    pb.MODEL_ACTION_ROLL_OUT: Action.ROLL_OUT,
}


class ModelsView:
    """Hosts and models as this replica knows them."""

    def __init__(
        self,
        lineups: Callable[[], Mapping[str, Lineup]],
        opened: Callable[[], Mapping[ModelVersion, ModelAssets]],
        hosts: Callable[[], Sequence[HostRecord]],
        in_flight: Callable[[str], int],
    ) -> None:
        """Takes where to look.

        Args:
            lineups: by model, the versions and what each is for.
            opened: the versions that this replica can ask.
            hosts: the hosts known now.
            in_flight: requests that this replica has under way at a host, by its id.
        """
        self._lineups = lineups
        self._opened = opened
        self._hosts = hosts
        self._in_flight = in_flight

    def models(self) -> list[pb.ModelStatus]:
        """The live version of every model, in the order of names."""
        opened = self._opened()
        found = []
        for name, lineup in sorted(self._lineups().items()):
            if lineup.live is not None:
                version = ModelVersion(name, lineup.live)
                found.append(self._model(version, opened.get(version)))
        return found

    def _model(self, version: ModelVersion, assets: ModelAssets | None) -> pb.ModelStatus:
        name, number = version
        ready_on = [
            record
            for record in self._hosts()
            if record.state is HostState.READY and number in record.ready_models.get(name, ())
        ]
        if assets is None:
            return pb.ModelStatus(model=name, version=number)
        manifest = assets.manifest
        return pb.ModelStatus(
            model=name,
            version=number,
            ready=bool(ready_on),
            ready_host_ids=[record.host_id for record in ready_on],
            artifact=manifest.served_artifact,
            sha256=manifest.served_sha256,
            published_at_ms=manifest.published_at_ms,
        )

    def hosts(self) -> list[pb.ModelHost]:
        """Every known host in the order of ids."""
        return [
            pb.ModelHost(
                host_id=record.host_id,
                url=record.url,
                state=_STATES[record.state],
                restarts=record.restarts,
                in_flight=self._in_flight(record.host_id),
                detail=record.detail,
            )
            for record in sorted(self._hosts(), key=lambda r: r.host_id)
        ]


def change_of(request: pb.ChangeModelRequest) -> Change:
    """The step that a request wants.

    Raises:
        InvalidRequest: it names none.
    """
    action = _ACTIONS.get(request.action)
    if action is None:
        raise InvalidRequest("action", "is missing or unknown")
    return Change(
        model=request.model,
        action=action,
        version=request.version,
        canary_percent=request.canary_percent,
        author=request.author,
        reason=request.reason,
        expected_revision=request.expected_revision or None,
        force=request.force,
    )


def model_reply(state: ModelState, report: Report) -> pb.ShowModelReply:
    """A model with all of its versions."""
    entry = state.entry
    return pb.ShowModelReply(
        model=state.lineup.model,
        revision=0 if entry is None else entry.revision,
        canary_percent=state.lineup.canary_percent,
        versions=[_version(version) for version in state.versions],
        last_step=None if entry is None else step_message(entry),
        serving_host_ids=state.serving_host_ids,
        rollout=None if state.rollout is None else _rollout(state.rollout),
        meta=meta(report),
    )


def step_message(entry: Entry) -> pb.ModelStep:
    """A step that was taken."""
    return pb.ModelStep(
        revision=entry.revision,
        action=entry.action,
        author=entry.author,
        reason=entry.reason,
        forced=entry.forced,
        at_ms=entry.at_ms,
        live=entry.lineup.live or 0,
        previous=entry.lineup.previous or 0,
        candidate=entry.lineup.candidate or 0,
        canary_percent=entry.lineup.canary_percent,
    )


def _rollout(state: RolloutState) -> pb.Rollout:
    rollout, judgement = state.rollout, state.judgement
    return pb.Rollout(
        version=rollout.version,
        stage=state.stage,
        since_ms=rollout.stepped_at_ms,
        author=rollout.author,
        reason=rollout.reason,
        counting=rollout.counting,
        verdict="" if judgement is None else judgement.verdict.value,
        findings=[_finding(one) for one in (() if judgement is None else judgement.findings)],
    )


def _finding(finding: Finding) -> pb.RolloutFinding:
    measure = finding.measure
    return pb.RolloutFinding(
        measure=measure.name,
        verdict=finding.verdict.value,
        candidate_bad=measure.candidate.bad,
        candidate_of=measure.candidate.of,
        live_bad=None if measure.live is None else measure.live.bad,
        live_of=None if measure.live is None else measure.live.of,
        difference=finding.difference,
        low=finding.low,
        high=finding.high,
        margin=measure.margin,
        needed=measure.needed,
    )


def _version(state: VersionState) -> pb.VersionStatus:
    manifest = state.manifest
    return pb.VersionStatus(
        version=state.version,
        stage=state.stage,
        ready_host_ids=state.ready_host_ids,
        faults=dict(state.faults),
        artifact="" if manifest is None else manifest.served_artifact,
        sha256="" if manifest is None else manifest.served_sha256,
        published_at_ms=0 if manifest is None else manifest.published_at_ms,
        open=state.open,
    )

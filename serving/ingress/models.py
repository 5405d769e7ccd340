"""What serves, as Models.ListModels and the health checks show it: pure over what is known."""

from collections.abc import Callable, Mapping, Sequence

from serving.models.manifest import ModelManifest
from serving.protos import commerce_pb2 as pb
from serving.triton.records import HostRecord, HostState

_STATES = {
    HostState.STARTING: pb.HOST_STATE_STARTING,
    HostState.READY: pb.HOST_STATE_READY,
    HostState.DOWN: pb.HOST_STATE_DOWN,
}


class ModelsView:
    """Hosts and models as this replica knows them."""

    def __init__(
        self,
        manifests: Mapping[str, ModelManifest],
        hosts: Callable[[], Sequence[HostRecord]],
        in_flight: Callable[[str], int],
    ) -> None:
        """Takes where to look.

        Args:
            manifests: of the version of each model that this replica was started with.
            hosts: the hosts known now.
            in_flight: requests that this replica has under way at a host, by its id.
        """
        self._manifests = manifests
        self._hosts = hosts
        self._in_flight = in_flight

    def ready_models(self) -> dict[str, int]:
        """On how many hosts each model is ready; a model that is ready nowhere is left out."""
        counts: dict[str, int] = {}
        for record in self._hosts():
            if record.state is HostState.READY:
                for model, version in record.ready_models.items():
                    if self._is_ours(model, version):
                        counts[model] = counts.get(model, 0) + 1
        return counts

    def _is_ours(self, model: str, version: int) -> bool:
        """Whether this process has the assets of that version."""
        manifest = self._manifests.get(model)
        return manifest is None or manifest.version == version

    def models(self) -> list[pb.ModelStatus]:
        """Every needed model in the order of names."""
        return [self._model(name, manifest) for name, manifest in sorted(self._manifests.items())]

    def _model(self, name: str, manifest: ModelManifest) -> pb.ModelStatus:
        ready_on = [
            record
            for record in self._hosts()
            if record.state is HostState.READY and record.ready_models.get(name) == manifest.version
        ]
        served = next(a for a in manifest.artifacts if a.kind == manifest.served_artifact)
        return pb.ModelStatus(
            model=name,
            version=manifest.version,
            ready=bool(ready_on),
            ready_host_ids=[record.host_id for record in ready_on],
            artifact=manifest.served_artifact,
            sha256=served.sha256,
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

"""A model host as a replica of a deployment; plain, so that it runs without Ray too."""

from dataclasses import replace

from serving.errors import Unavailable
from serving.settings import Settings
from serving.triton.host import TritonHost
from serving.triton.records import HostRecord, Publish
from serving.versions.resident import resident_versions
from serving.versions.store import FILE_NAME, VersionStore

# Of the time for a shutdown, what its caller needs before and after ours.
_RESERVE_S = 1.0


class ModelHostReplica:
    """One supervised tritonserver for as long as the replica lives."""

    def __init__(self, settings: Settings, host_id: str, publish: Publish) -> None:
        """Starts nothing yet.

        Args:
            settings: the whole tree; hosts and telemetry are used.
            host_id: unique among all hosts.
            publish: takes the host's record to the registry.
        """
        store = VersionStore(settings.stores.folder / FILE_NAME)
        self._host = TritonHost(
            settings.triton,
            host_id,
            publish,
            settings.telemetry,
            wanted=lambda: resident_versions(store.read_all()),
        )
        shutdown_s = settings.deployments.host_graceful_shutdown_timeout_s
        self._patience_s = shutdown_s - min(_RESERVE_S, shutdown_s / 2)

    async def start(self) -> None:
        """Returns once every model is ready.

        Raises:
            StartupError: the host cannot start; names what is at fault.
        """
        await self._host.start()

    def check_health(self) -> None:
        """Says nothing as long as the host serves or is being brought back.

        Raises:
            Unavailable: it cannot be brought back here; a new replica should try.
        """
        failure = self._host.failure()
        if failure is not None:
            raise Unavailable(f"model host {self._host.record.host_id}: {failure}")

    def record(self) -> HostRecord:
        """The host as it is now."""
        return self._host.record

    async def load(self, waiting_in_front: float) -> dict[str, float]:
        """Load since the last call, for the rules of scaling; empty while it is not known.

        Args:
            waiting_in_front: calls that wait at replicas for a place at this host.
        """
        load = await self._host.load()
        if load is None:
            return {}
        return replace(load, pending=load.pending + waiting_in_front).report()

    async def shutdown(self) -> None:
        """Lets requests under way finish and ends the server; may be called again."""
        await self._host.leave(self._patience_s)

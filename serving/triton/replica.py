"""A model host as a replica of a deployment; plain, so that it runs without Ray too."""

from serving.errors import Unavailable
from serving.settings import Settings
from serving.triton.host import TritonHost
from serving.triton.records import HostRecord, Publish


class ModelHostReplica:
    """One supervised tritonserver for as long as the replica lives."""

    def __init__(self, settings: Settings, host_id: str, publish: Publish) -> None:
        """Starts nothing yet.

        Args:
            settings: the whole tree; hosts and telemetry are used.
            host_id: unique among all hosts.
            publish: takes the host's record to the registry.
        """
        self._host = TritonHost(settings.triton, host_id, publish, settings.telemetry)

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

    async def shutdown(self) -> None:
        """Ends the server; may be called again."""
        await self._host.stop()

"""Where a version can be asked, and why it cannot be asked elsewhere, as one process knows it."""

from collections.abc import Callable, Container, Mapping, Sequence

from serving.models.version import ModelVersion
from serving.triton.records import HostRecord, HostState

# Where a version cannot be opened, beside the hosts' ids.
REPLICA = "replica"


class Readiness:
    """Of versions, on the hosts and in this process."""

    def __init__(
        self,
        hosts: Callable[[], Sequence[HostRecord]],
        faults: Callable[[], Mapping[ModelVersion, str]],
        opened: Callable[[], Container[ModelVersion]],
    ) -> None:
        """Takes where to look.

        Args:
            hosts: the hosts known now.
            faults: versions that cannot be opened in this process, and why.
            opened: versions that are.
        """
        self._hosts = hosts
        self._faults = faults
        self._opened = opened

    def serving_host_ids(self) -> tuple[str, ...]:
        """Hosts that serve now. Those that are down load what is wanted before they serve again."""
        return tuple(host.host_id for host in self._serving())

    def host_ids(self, version: ModelVersion) -> tuple[str, ...]:
        """Hosts that have a version ready."""
        return tuple(host.host_id for host in self._serving() if _has(host, version))

    def is_open(self, version: ModelVersion) -> bool:
        """Whether this process has its files open."""
        return version in self._opened()

    def faults(self, version: ModelVersion) -> dict[str, str]:
        """By host id or `REPLICA`, why a version cannot be served there."""
        found = {
            host.host_id: host.faults[str(version)]
            for host in self._hosts()
            if str(version) in host.faults
        }
        why = self._faults().get(version)
        if why is not None:
            found[REPLICA] = why
        return found

    def lacks(self, version: ModelVersion) -> tuple[str, ...]:
        """Why a version is not ready everywhere; empty if it is."""
        serving = self._serving()
        faults = self.faults(version)
        found = [
            f"{host.host_id}: {faults.get(host.host_id, 'not loaded yet')}"
            for host in serving
            if not _has(host, version)
        ]
        if not self.is_open(version):
            found.append(f"{REPLICA}: {faults.get(REPLICA, 'not open yet')}")
        if not serving:
            found.append("no host is ready")
        return tuple(found)

    def _serving(self) -> list[HostRecord]:
        return [host for host in self._hosts() if host.state is HostState.READY]


def _has(host: HostRecord, version: ModelVersion) -> bool:
    return version.version in host.ready_models.get(version.model, ())

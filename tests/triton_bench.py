"""A model host with tiny models in a folder of its own, for tests of its life."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from serving.models.manifest import ModelManifest
from serving.settings import TritonSettings
from serving.triton.discovery import HostRecord, HostRegistry, HostState
from serving.triton.host import TritonHost
from tests.tiny_models import publish_tiny_models
from tests.waiting import until


@dataclass
class Bench:
    """Where hosts run, and everything that they have published."""

    folder: Path
    manifests: dict[str, ModelManifest]
    records: list[HostRecord] = field(default_factory=list)
    registry: HostRegistry = field(default_factory=HostRegistry)
    hosts: list[TritonHost] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path) -> "Bench":
        """A bench with the models `add`, `slow` and `gather`."""
        return cls(folder, publish_tiny_models(folder / "models"))

    def settings(self, **changes: Any) -> TritonSettings:
        """Quick probes, short pauses, two models; with `changes`."""
        values: dict[str, Any] = {
            "models": ("add", "slow"),
            "model_repository": self.folder / "models",
            "log_folder": self.folder / "log",
            "cache_folder": self.folder / "cache",
            "probe_period_s": 0.2,
            "restart_backoff_s": 0.05,
            "start_timeout_s": 30.0,
            "loading_share": 0.5,
        }
        return TritonSettings(**{**values, **changes})

    def host(
        self, host_id: str = "host-1", *, settings: Any = None, **arguments: Any
    ) -> TritonHost:
        """A host that is stopped with the bench."""
        made = TritonHost(settings or self.settings(), host_id, self.publish, **arguments)
        self.hosts.append(made)
        return made

    async def publish(self, record: HostRecord) -> None:
        """Takes a record as a registry would, and keeps it."""
        self.registry.publish(record)
        if not self.records or record != self.records[-1]:
            self.records.append(record)

    def states(self, host_id: str = "host-1") -> list[HostState]:
        """The states that a host went through, without repetitions."""
        states: list[HostState] = []
        for record in self.records:
            if record.host_id == host_id and record.state not in states[-1:]:
                states.append(record.state)
        return states

    async def close(self) -> None:
        """Ends the hosts without ceremony."""
        for host in self.hosts:
            await host.stop(patience_s=0.0)


async def until_record(host: TritonHost, condition: Callable[[HostRecord], bool]) -> HostRecord:
    """Waits until a host's record fits; returns it."""
    await until(lambda: condition(host.record), 20.0)
    return host.record


def processes(folder: Path) -> list[str]:
    """Names of the living processes that were started for a bench in `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in " ".join(
                process.cmdline()
            ):
                found.append(process.name())
    return found


def shared_memory(owner_pid: int) -> list[str]:
    """Regions in /dev/shm of servers that a process supervises."""
    return [path.name for path in Path("/dev/shm").glob(f"cartwright-triton-*-{owner_pid}-*")]


def stub_of(host: TritonHost, model: str) -> psutil.Process:
    """The process that runs version 1 of a model."""
    return next(
        child
        for child in psutil.Process(host.record.pid).children()
        if f"/{model}.1/" in " ".join(child.cmdline())
    )

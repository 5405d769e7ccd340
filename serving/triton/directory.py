"""The model hosts as one replica knows them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from serving.models.version import ModelVersion
from serving.triton.records import HostRecord, HostState
from serving.triton.registry import STALE_AFTER_S

logger = logging.getLogger(__name__)

# (revision that is known, seconds to wait) -> (revision, all records)
Changes = Callable[[int, float], Awaitable[tuple[int, Sequence[HostRecord]]]]

_POLL_S = 10.0
_ANSWER_GRACE_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class HostDirectory:
    """The hosts as one replica knows them; follows a source in a task of its own."""

    def __init__(self, changes: Changes, *, poll_s: float = _POLL_S) -> None:
        """Follows nothing before `start`.

        Args:
            changes: of a `HostRegistry`, near or behind an actor, or of `StaticHosts`.
            poll_s: longest time of one long poll in seconds.
        """
        self._changes = changes
        self._poll_s = poll_s
        self._records: dict[str, HostRecord] = {}
        self._by_version: dict[ModelVersion, tuple[HostRecord, ...]] = {}
        # Hosts that were ready and are not mentioned any more: since when, on the loop's clock.
        self._missing_since_s: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._follow(), name="follow-hosts")

    async def close(self) -> None:
        """Stops following; the last records stay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def records(self) -> tuple[HostRecord, ...]:
        """All hosts that are known."""
        return tuple(self._records.values())

    def hosts_with(self, version: ModelVersion) -> tuple[HostRecord, ...]:
        """Hosts that have the version ready."""
        return self._by_version.get(version, ())

    def summary(self) -> str:
        """Hosts and their states in a few words, for errors."""
        if not self._records:
            return "no host is known"
        return ", ".join(f"{r.host_id}: {r.state}" for r in self._records.values())

    async def wait_until(
        self, condition: Callable[[tuple[HostRecord, ...]], bool], timeout_s: float
    ) -> None:
        """Returns once `condition(records)` holds.

        Raises:
            TimeoutError: it did not within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                changed = self._changed
                if condition(self.records()):
                    return
                await changed.wait()

    async def _follow(self) -> None:
        revision = -1
        pause_s = _FIRST_PAUSE_S
        while True:
            # After a registry's restart, hosts are missing until their next heartbeat.
            poll_s = min(self._poll_s, STALE_AFTER_S) if self._missing_since_s else self._poll_s
            try:
                async with asyncio.timeout(poll_s + _ANSWER_GRACE_S):
                    revision, records = await self._changes(revision, poll_s)
            except Exception as error:  # noqa: BLE001 - the source may be anything
                # What is known stays in use: hosts do not end with the registry.
                logger.warning("the registry of hosts does not answer: %r", error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S
                self._accept(records)

    def _accept(self, records: Sequence[HostRecord]) -> None:
        """Takes over what the source says.

        A host that leaves says so first. One that was ready and is suddenly not mentioned is kept
        for some seconds: the registry has most likely been restarted and forgotten it.
        """
        now_s = asyncio.get_running_loop().time()
        known = {record.host_id: record for record in records}
        missing_since_s = {}
        for host_id, record in self._records.items():
            if host_id not in known and record.state is HostState.READY:
                since_s = self._missing_since_s.get(host_id, now_s)
                if now_s - since_s < STALE_AFTER_S:
                    known[host_id] = record
                    missing_since_s[host_id] = since_s
        self._missing_since_s = missing_since_s
        if known == self._records:
            return
        self._records = known
        by_version: dict[ModelVersion, list[HostRecord]] = {}
        for record in known.values():
            if record.state is HostState.READY:
                for model, versions in record.ready_models.items():
                    for version in versions:
                        by_version.setdefault(ModelVersion(model, version), []).append(record)
        self._by_version = {version: tuple(hosts) for version, hosts in by_version.items()}
        self._changed.set()
        self._changed = asyncio.Event()

"""Model hosts that somebody else runs, given as URLs: probed, never started."""

import asyncio
import math
from collections.abc import Sequence
from typing import Self

from serving.triton.control import ProbeFailed, ServerControl
from serving.triton.records import HostRecord, HostState
from serving.triton.registry import HostRegistry

_SHORTEST_PROBE_TIMEOUT_S = 0.5
# Probes missed in a row until a host counts as down; one may be lost under load.
_MISSED_UNTIL_DOWN = 2


class StaticHosts:
    """Asks each host periodically which models it has ready."""

    def __init__(self, urls: Sequence[str], *, probe_period_s: float = 1.0) -> None:
        """Probes nothing before `start`.

        Args:
            urls: host:port of each gRPC endpoint; also the host's id.
            probe_period_s: seconds from one probe to the next.
        """
        self._urls = tuple(urls)
        self._probe_period_s = probe_period_s
        # Nobody is silent here: this object itself does the telling.
        self._registry = HostRegistry(stale_after_s=math.inf, forget_after_s=math.inf)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to probe."""
        for url in self._urls:
            self._registry.publish(HostRecord(host_id=url, url=url))
            self._tasks.append(asyncio.create_task(self._probe(url), name=f"probe-{url}"))

    async def close(self) -> None:
        """Stops probing."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def changes(
        self, since_revision: int, timeout_s: float
    ) -> tuple[int, tuple[HostRecord, ...]]:
        """See `HostRegistry.changes`."""
        return await self._registry.changes(since_revision, timeout_s)

    async def _probe(self, url: str) -> None:
        timeout_s = max(self._probe_period_s, _SHORTEST_PROBE_TIMEOUT_S)
        missed = 0
        async with ServerControl(url) as control:
            while True:
                try:
                    ready = await control.ready_models(timeout_s)
                except ProbeFailed as error:
                    missed += 1
                    if missed >= _MISSED_UNTIL_DOWN:
                        self._registry.publish(
                            HostRecord(
                                host_id=url, url=url, state=HostState.DOWN, detail=str(error)
                            )
                        )
                else:
                    missed = 0
                    state = HostState.READY if ready else HostState.STARTING
                    self._registry.publish(
                        HostRecord(host_id=url, url=url, state=state, ready_models=ready)
                    )
                await asyncio.sleep(self._probe_period_s)

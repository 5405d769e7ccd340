"""What a model host tells about itself, and how it gets told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

logger = logging.getLogger(__name__)

# A host repeats itself so often; see `discovery.HostRegistry` for when its silence counts.
HEARTBEAT_PERIOD_S = 1.0
# A publication that takes longer is given up; the next one says more anyway.
_PUBLISH_TIMEOUT_S = 5.0


class HostState(StrEnum):
    """Whether a host can be asked."""

    STARTING = "starting"
    # It serves what `ready_models` says.
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class HostRecord:
    """One model host as it is now."""

    host_id: str
    # host:port of its gRPC endpoint; "" while there is none.
    url: str = ""
    state: HostState = HostState.STARTING
    # How often the server was started again after it had been lost.
    restarts: int = 0
    # Why it is down, or what it lacks; "" when all is well.
    detail: str = ""
    # Models that can be asked now, with the versions that answer, in rising order.
    ready_models: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # Models and versions ("understanding/4") that are wanted there and cannot be served: why.
    faults: Mapping[str, str] = field(default_factory=dict)
    # Whether Triton knows each version as a model of its own; see `served`.
    apart: bool = False
    # Process id of the server; 0 while there is none, and for a host given by its URL.
    pid: int = 0
    # Prometheus metrics of the server; "" where unknown.
    metrics_url: str = ""


Publish = Callable[[HostRecord], Awaitable[None]]


class RecordPublisher:
    """Publishes each change in order and repeats the last record as a heartbeat.

    Runs in a task of its own: a registry that is slow or gone must not hold up supervision.
    """

    def __init__(self, publish: Publish, heartbeat_period_s: float = HEARTBEAT_PERIOD_S) -> None:
        self._publish = publish
        self._heartbeat_period_s = heartbeat_period_s
        self._changes: asyncio.Queue[HostRecord | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def tell(self, record: HostRecord) -> None:
        """Hands over a change."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="publish-host-record")
        self._changes.put_nowait(record)

    async def close(self) -> None:
        """Publishes what is left and ends."""
        if self._task is not None:
            self._changes.put_nowait(None)
            await self._task
            self._task = None

    async def _run(self) -> None:
        last: HostRecord | None = None
        while True:
            try:
                change = await asyncio.wait_for(self._changes.get(), self._heartbeat_period_s)
            except TimeoutError:
                change = last
            if change is None:
                return
            last = change
            await self._send(change)

    async def _send(self, record: HostRecord) -> None:
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                await self._publish(record)
        except Exception:
            # Whatever the registry's side raises: the next heartbeat tries again.
            logger.warning("host %s: its record was not published", record.host_id, exc_info=True)

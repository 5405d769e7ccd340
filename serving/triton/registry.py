"""What the model hosts have told; who follows it waits for changes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from serving.triton.records import HostRecord, HostState

Clock = Callable[[], float]

# A host that has been silent for so long counts as down: its supervisor is gone, or cut off. Not a
# matter of haste: its server has ended with it, and who connects to that is refused at once.
STALE_AFTER_S = 10.0
# So long it is still shown as down.
FORGET_AFTER_S = 60.0


@dataclass
class _Entry:
    record: HostRecord
    heard_s: float


class HostRegistry:
    """What the hosts have told. For one event loop."""

    def __init__(
        self,
        *,
        clock: Clock = time.monotonic,
        stale_after_s: float = STALE_AFTER_S,
        forget_after_s: float = FORGET_AFTER_S,
    ) -> None:
        """Knows nothing yet."""
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._forget_after_s = forget_after_s
        self._entries: dict[str, _Entry] = {}
        # Never the same after a restart, so that who follows does not take news for old.
        self._revision = time.time_ns()
        self._changed = asyncio.Event()

    def publish(self, record: HostRecord) -> None:
        """Takes a host's record; the same one again is a heartbeat."""
        entry = self._entries.get(record.host_id)
        self._entries[record.host_id] = _Entry(record, self._clock())
        if entry is None or entry.record != record:
            self._note_change()

    def withdraw(self, host_id: str) -> None:
        """Forgets a host."""
        if self._entries.pop(host_id, None) is not None:
            self._note_change()

    def snapshot(self) -> tuple[int, tuple[HostRecord, ...]]:
        """Revision and all records, in the order of host ids."""
        self._expire()
        records = (entry.record for entry in self._entries.values())
        return self._revision, tuple(sorted(records, key=lambda record: record.host_id))

    async def changes(
        self, since_revision: int, timeout_s: float
    ) -> tuple[int, tuple[HostRecord, ...]]:
        """The snapshot, as soon as it differs from revision `since_revision`.

        Returns what there is after `timeout_s` seconds at the latest.
        """
        until_s = self._clock() + timeout_s
        while True:
            changed = self._changed
            revision, records = self.snapshot()
            now_s = self._clock()
            if revision != since_revision or now_s >= until_s:
                return revision, records
            try:
                async with asyncio.timeout(min(until_s, self._next_expiry_s()) - now_s):
                    await changed.wait()
            except TimeoutError:
                continue

    def _expire(self) -> None:
        now_s = self._clock()
        for host_id, entry in list(self._entries.items()):
            silent_s = now_s - entry.heard_s
            if silent_s > self._forget_after_s:
                self.withdraw(host_id)
            elif silent_s > self._stale_after_s and entry.record.state is not HostState.DOWN:
                entry.record = replace(
                    entry.record,
                    state=HostState.DOWN,
                    detail=f"silent for more than {self._stale_after_s:.0f} s",
                    ready_models={},
                )
                self._note_change()

    def _next_expiry_s(self) -> float:
        """When silence next counts; a little later, so that the clock has surely passed it."""
        return 0.01 + min(
            (
                entry.heard_s
                + (
                    self._forget_after_s
                    if entry.record.state is HostState.DOWN
                    else self._stale_after_s
                )
                for entry in self._entries.values()
            ),
            default=float("inf"),
        )

    def _note_change(self) -> None:
        self._revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

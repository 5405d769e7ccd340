"""Calls that wait in front of the hosts: told by replicas, added up by the registry.

A replica sends few batches at a time, so that Triton's own queues are short even when every host is
full; what waits for a place waits in the replica. Whoever decides on the number of hosts has to
know of both.

    CoalescerStats ─▶ WaitingMeter ─▶ tell (once a period) ─▶ Demand (registry) ─▶ calls a host
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from serving.coalescing.coalescer import CoalescerStats

logger = logging.getLogger(__name__)

Clock = Callable[[], float]
# (who tells, calls that waited on average) -> told
Tell = Callable[[str, float], Awaitable[None]]

PERIOD_S = 1.0
# What a replica told counts for so long; one that is gone does not ask for hosts.
STALE_AFTER_S = 5.0


class WaitingMeter:
    """Calls of one replica that waited for a place, on average since the last look.

    By Little's law: seconds waited by all calls together, over the seconds that passed.
    """

    def __init__(self) -> None:
        """Has not looked yet."""
        self._waited_s: float | None = None
        self._looked_s = 0.0

    def note(self, stats: Iterable[CoalescerStats], now_s: float) -> float:
        """Looks at time `now_s`; 0.0 at the first look."""
        waited_s = sum(one.waited_s for one in stats)
        before_s, self._waited_s = self._waited_s, waited_s
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        if before_s is None or passed_s <= 0:
            return 0.0
        return (waited_s - before_s) / passed_s


class Demand:
    """What all replicas told. For one event loop."""

    def __init__(self, *, clock: Clock = time.monotonic, stale_after_s: float = STALE_AFTER_S):
        """Knows of nobody."""
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._told: dict[str, tuple[float, float]] = {}

    def note(self, replica: str, waiting: float) -> None:
        """Takes a replica's number of waiting calls."""
        self._told[replica] = (waiting, self._clock())

    def waiting(self) -> float:
        """Calls that wait at all replicas together."""
        oldest_s = self._clock() - self._stale_after_s
        self._told = {who: told for who, told in self._told.items() if told[1] >= oldest_s}
        return sum(waiting for waiting, _ in self._told.values())


async def keep_telling(
    replica: str,
    stats: Callable[[], Iterable[CoalescerStats]],
    tell: Tell,
    period_s: float = PERIOD_S,
) -> None:
    """Tells until it is cancelled; says nothing while nothing waits."""
    meter = WaitingMeter()
    told = 0.0
    while True:
        waiting = meter.note(stats(), time.monotonic())
        if waiting or told:
            try:
                await tell(replica, waiting)
                told = waiting
            except Exception as error:  # noqa: BLE001 - the registry comes back; then we tell again
                logger.warning("waiting calls could not be told: %r", error)
        await asyncio.sleep(period_s)

"""From reports to a signal: more replicas, one fewer, or neither.

Two kinds of load. Requests in flight add up over replicas, so that they say how many are needed.
Queue time and waiting requests say only whether the hosts there are suffice; that one fewer would
suffice too is concluded from what a host was once seen to fail at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    QUEUE_MS,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)

# One fewer replica is enough only if it would be filled to no more than this share.
ROOM = 0.8
# Hosts are calm below this share of their targets.
CALM = 0.5
# At most so many times the hosts at once: their queue time says little about how many are needed.
STEEPEST = 2.0
# One fewer host is enough only up to this share of the rows a second that overloaded one.
LIMIT_ROOM = 0.7


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What the load asks for."""

    # Replicas that the load needs; at most the present target when it does not need more.
    wanted: int
    # Whether one fewer would do, with room to spare.
    spare: bool
    # Load as a share of its target: 1.0 is exactly at it.
    pressure: float
    # The numbers behind it, for people.
    text: str
    # Rows a second and host; 0 where unknown or meaningless.
    rows_per_s: float = 0.0


class Target(Protocol):
    """What a deployment's load is compared with."""

    @property
    def waits_for_start(self) -> bool:
        """Whether the load means little while replicas are starting."""
        ...

    def signal(
        self, seen: Observation, fresh: Sequence[ReplicaReport], limit_rows_per_s: float | None
    ) -> Signal:
        """Reads the load off reports.

        Args:
            seen: with at least one running replica.
            fresh: its reports that are not stale; at least one.
            limit_rows_per_s: rows a second that overloaded one host; None if unknown.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class InFlightTarget:
    """Requests in flight for each replica of a pipeline."""

    in_flight: float

    @property
    def waits_for_start(self) -> bool:
        """The load is a total: it means the same whoever carries it."""
        return False

    def signal(
        self, seen: Observation, fresh: Sequence[ReplicaReport], limit_rows_per_s: float | None
    ) -> Signal:
        """See `Target.signal`. Replicas without a report count as idle, which is never too much."""
        total = seen.queued + sum(report.values[IN_FLIGHT] for report in fresh)
        return Signal(
            wanted=math.ceil(total / self.in_flight),
            spare=total <= (seen.target - 1) * self.in_flight * ROOM,
            pressure=total / (seen.target * self.in_flight),
            text=f"{total:.1f} in flight, target {self.in_flight:g} for each of {seen.target}",
        )


@dataclass(frozen=True, kw_only=True)
class QueueTarget:
    """Triton's queue time and waiting requests for each model host."""

    queue_ms: float
    pending: float

    @property
    def waits_for_start(self) -> bool:
        """A host that starts will take load off the others, which does not show yet."""
        return True

    def signal(
        self, seen: Observation, fresh: Sequence[ReplicaReport], limit_rows_per_s: float | None
    ) -> Signal:
        """See `Target.signal`."""
        values = [report.values for report in fresh]
        queue_ms = _weighted_queue_ms(values)
        pending = sum(v[PENDING] for v in values) / len(values)
        rows_per_s = sum(v[ROWS_PER_S] for v in values)
        pressure = max(queue_ms / self.queue_ms, pending / self.pending)
        with_one_fewer = rows_per_s / max(seen.target - 1, 1)
        spare = pressure < CALM and (
            limit_rows_per_s is None or with_one_fewer <= LIMIT_ROOM * limit_rows_per_s
        )
        text = (
            f"queue {queue_ms:.1f} ms (target {self.queue_ms:g}), {pending:.1f} waiting a host "
            f"(target {self.pending:g}), {rows_per_s:.0f} rows/s"
        )
        if limit_rows_per_s is not None:
            text += f" (a host was overloaded at {limit_rows_per_s:.0f})"
        return Signal(
            wanted=math.ceil(seen.running * min(pressure, STEEPEST)) if pressure > 1 else 0,
            spare=spare,
            pressure=pressure,
            text=text,
            rows_per_s=rows_per_s / len(values),
        )


def _weighted_queue_ms(values: Sequence[Mapping[str, float]]) -> float:
    """Queue time over hosts, each counting by its requests."""
    requests = sum(v[REQUESTS_PER_S] for v in values)
    if requests <= 0:
        return 0.0
    return sum(v[QUEUE_MS] * v[REQUESTS_PER_S] for v in values) / requests

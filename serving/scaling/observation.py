"""What a policy sees at one moment: numbers of replicas, and what each replica reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a pipeline's replica reports: requests in flight, a mean over some seconds.
IN_FLIGHT = "in_flight"
# What a model host reports. Milliseconds that a request waited in Triton's queue, of the model
# where it waited longest; requests waiting for it, there and at the replicas, over all models;
# requests and rows (a request may hold several) a second, over all models.
QUEUE_MS = "queue_ms"
PENDING = "pending"
REQUESTS_PER_S = "requests_per_s"
ROWS_PER_S = "rows_per_s"


@dataclass(frozen=True, kw_only=True)
class ReplicaReport:
    """What one replica said last."""

    replica: str
    # Seconds since its newest value.
    age_s: float
    # By the names above; means over the last seconds.
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One deployment at one moment."""

    # On any steady clock; only differences matter.
    time_s: float
    # Replicas that serve, and the number that is aimed at now.
    running: int
    target: int
    # Requests that wait for a replica at their callers.
    queued: float = 0.0
    reports: tuple[ReplicaReport, ...] = field(default=())

    def fresh(self, stale_after_s: float) -> tuple[ReplicaReport, ...]:
        """Reports that are not older than `stale_after_s` seconds."""
        return tuple(report for report in self.reports if report.age_s <= stale_after_s)

"""The rules as a policy of Ray Serve.

Ray Serve makes one object of the class for each deployment, in the process of its controller, and
calls it in every round of the control loop (two a second). The object lives until the deployment is
changed or the controller restarts; a cool-down then starts anew. Ray pickles this module by value,
the others by reference.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.scaling.decide import State, decide
from serving.scaling.log import DecisionLog
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    REQUESTS_PER_S,
    Observation,
    ReplicaReport,
)
from serving.scaling.rules import host_rules, pipeline_rules
from serving.scaling.trace import VALUES, Kind
from serving.settings import DeploymentSettings, ScalingSettings, TritonSettings

logger = logging.getLogger(__name__)


class WatchedScaling:
    """Decides once a period, in between repeats the number that is aimed at."""

    def __init__(
        self,
        *,
        deployment: str,
        kind: Kind,
        limits: Mapping[str, Any],
        scaling: Mapping[str, Any],
    ) -> None:
        """Takes what Ray Serve passes on as JSON.

        Args:
            deployment: its name.
            kind: what its replicas report.
            limits: settings of the deployment, or of Triton for hosts.
            scaling: the section `scaling`, its folder as an absolute path.
        """
        settings = ScalingSettings(**scaling)
        if kind == "hosts":
            self._rules = host_rules(TritonSettings(**limits), settings)
        else:
            self._rules = pipeline_rules(DeploymentSettings(**limits), settings)
        self._kind = kind
        self._period_s = settings.period_s
        self._dry_run = settings.dry_run
        self._state = State()
        self._next_s = 0.0
        self._log = DecisionLog(
            deployment,
            kind,
            Path(settings.log_folder),
            max_bytes=settings.log_max_bytes,
            hold_period_s=settings.log_hold_period_s,
            dry_run=settings.dry_run,
        )

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number to aim at, for an `AutoscalingContext`; and no state for Ray to keep."""
        target = int(context.target_num_replicas)
        now_s = time.monotonic()
        if now_s < self._next_s:
            return target, {}
        self._next_s = now_s + self._period_s
        try:
            seen = self._observe(context, now_s)
            decision, self._state = decide(self._rules, self._state, seen)
            self._log.note(decision, seen, float(context.current_time))
        except Exception:
            # Raised here it would end the controller's round, for every deployment.
            logger.exception("autoscaling: nothing was decided")
            return target, {}
        return (target if self._dry_run else decision.target), {}

    def _observe(self, context: Any, now_s: float) -> Observation:
        queued = 0.0
        if self._kind == "pipeline":
            queued = float(context.total_queued_requests or 0.0)
        return Observation(
            time_s=now_s,
            running=int(context.current_num_replicas),
            target=int(context.target_num_replicas),
            queued=queued,
            reports=reports_from(context.raw_metrics, self._kind, float(context.current_time)),
        )


def reports_from(
    metrics: Mapping[str, Mapping[Any, Sequence[Any]]], kind: Kind, unix_time_s: float
) -> tuple[ReplicaReport, ...]:
    """Reports out of Ray Serve's series, name -> replica id -> points in time.

    A replica that lacks one of the kind's values has no report.
    """
    names = VALUES[kind]
    needed = [metrics.get(name, {}) for name in names]
    reports = []
    for replica in needed[0]:
        series = [by_replica.get(replica, ()) for by_replica in needed]
        # Recorded together, so of one length; the shortest decides should that ever change.
        rounds = list(zip(*series, strict=False))
        if not rounds:
            continue
        reports.append(
            ReplicaReport(
                replica=replica.unique_id,
                # Clocks of two machines may differ a little.
                age_s=max(0.0, unix_time_s - rounds[-1][0].timestamp),
                values=mean_of(
                    [dict(zip(names, (p.value for p in r), strict=True)) for r in rounds]
                ),
            )
        )
    return tuple(reports)


def mean_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One report out of several of the same replica, at least one.

    What waits or is in flight is averaged over time. Queue time and rates are averaged over
    requests: a host that just became busy would otherwise look as if it managed little.
    """
    weights = [values.get(REQUESTS_PER_S, 1.0) for values in rounds]
    if sum(weights) <= 0:
        weights = [1.0] * len(rounds)
    means = {}
    for name in rounds[0]:
        over_time = name in (IN_FLIGHT, PENDING)
        shares = [1.0] * len(rounds) if over_time else weights
        total = sum(share * values[name] for share, values in zip(shares, rounds, strict=True))
        means[name] = total / sum(shares)
    return means

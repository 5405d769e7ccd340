"""What a replica counts, as metrics: plain readings, and their way to Ray's Prometheus endpoint.

The request path only adds to integers. Once a second a task reads them, so that a request pays
nothing for being counted. Names follow Prometheus' conventions (base units, `_total` for counts).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from serving.coalescing.coalescer import CoalescerStats
from serving.ingress.admission import AdmissionStats
from serving.ledger.writer import LedgerStats
from serving.models.version import ModelVersion
from serving.recording.recorder import RecorderStats
from serving.versions.shadow import ShadowStats

_log = logging.getLogger(__name__)

PERIOD_S = 1.0
# Upper bounds of the batch sizes that are told apart.
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value: of a gauge now, or of a counter since the start."""

    name: str
    description: str
    kind: Literal["gauge", "counter"]
    value: float
    tags: tuple[tuple[str, str], ...] = ()


class Sink(Protocol):
    """Takes readings to wherever they are collected."""

    def take(self, readings: Iterable[Reading]) -> None:
        """Takes all readings of one moment."""
        ...


def coalescer_readings(stats: Mapping[ModelVersion, CoalescerStats]) -> list[Reading]:
    """Of the calls for each version: what waits, what is under way, and how batches left."""
    readings = []
    for (model, version), one in stats.items():
        tags = (("model", model), ("version", str(version)))
        readings += [
            _gauge("model_calls_waiting", "Calls that wait for a place.", one.waiting, tags),
            _gauge("model_batches_under_way", "Batches at the hosts.", one.under_way, tags),
            _counter("model_calls_total", "Calls.", one.calls, tags),
            _counter("model_wait_seconds_total", "Seconds that calls waited.", one.waited_s, tags),
            _counter("model_calls_expired_total", "Calls out of time.", one.expired, tags),
            _counter("model_calls_cancelled_total", "Calls given up.", one.cancelled, tags),
            _counter("model_calls_refused_total", "Calls beyond the bound.", one.refused, tags),
            _counter(
                "model_batch_rows_total",
                "Rows of all batches.",
                sum(rows * count for rows, count in one.batches.items()),
                tags,
            ),
        ]
        for bound in BATCH_BOUNDS:
            readings.append(
                _counter(
                    "model_batches_total",
                    "Batches with at most `rows` rows.",
                    sum(count for rows, count in one.batches.items() if rows <= bound),
                    (*tags, ("rows", str(bound))),
                )
            )
        readings += [
            _counter(
                "model_departures_total",
                "Batches by the reason for which they left.",
                count,
                (*tags, ("reason", reason.value)),
            )
            for reason, count in one.departures.items()
        ]
    return readings


def admission_readings(stats: AdmissionStats) -> list[Reading]:
    """Of the calls at the door: how many are in, how many may be, who was refused."""
    return [
        _gauge("requests_in_flight", "Requests that were let in.", stats.in_flight),
        _gauge("requests_in_flight_limit", "Requests that may be in flight.", stats.limit),
        *(
            _counter("requests_admitted_total", "Requests let in.", n, (("priority", p.lower()),))
            for p, n in stats.admitted.items()
        ),
        *(
            _counter("requests_refused_total", "Requests shed.", n, (("priority", p.lower()),))
            for p, n in stats.refused.items()
        ),
    ]


def ledger_readings(stats: LedgerStats) -> list[Reading]:
    """Of the ledger: answers that stand in it, and those that could not be written."""
    return [
        _counter("ledger_entries_total", "Answers in the ledger.", stats.written),
        _counter("ledger_entries_lost_total", "Answers that it lacks.", stats.lost),
    ]


def recorder_readings(stats: RecorderStats) -> list[Reading]:
    """Of the recorder: what it was offered, what it wrote, and what it left out."""
    return [
        _counter("recorder_offered_total", "Requests offered.", stats.offered),
        _counter("recorder_written_total", "Requests recorded.", stats.written),
        _counter("recorder_dropped_total", "Left out: the queue was full.", stats.dropped),
        _counter("recorder_disk_errors_total", "Writes that failed.", stats.disk_errors),
    ]


def shadow_readings(stats: Mapping[tuple[str, int], ShadowStats]) -> list[Reading]:
    """Of shadow calls, by candidate: how often it was asked, disagreed, failed or was left out."""
    readings = []
    for (model, version), one in stats.items():
        tags = (("model", model), ("version", str(version)))
        readings += [
            _counter("shadow_calls_total", "Shadow calls answered.", one.asked, tags),
            _counter("shadow_disagreements_total", "Other answers.", one.disagreed, tags),
            _counter("shadow_failures_total", "Shadow calls that failed.", one.failed, tags),
            _counter("shadow_dropped_total", "Left out for want of room.", one.dropped, tags),
            _counter("shadow_seconds_total", "Of the candidate.", one.candidate_ms / 1000.0, tags),
            _counter("shadow_live_seconds_total", "Beside it.", one.live_ms / 1000.0, tags),
        ]
    return readings


async def keep_publishing(
    read: Callable[[], Iterable[Reading]], sink: Sink, period_s: float = PERIOD_S
) -> None:
    """Takes readings to the sink until it is cancelled; an error is logged and costs one round."""
    while True:
        try:
            sink.take(read())
        except Exception:  # noqa: BLE001 - metrics must not end silently with the first bad round
            _log.exception("metrics could not be published")
        await asyncio.sleep(period_s)


def _gauge(
    name: str, description: str, value: float, tags: tuple[tuple[str, str], ...] = ()
) -> Reading:
    return Reading(
        name=f"cartwright_{name}", description=description, kind="gauge", value=value, tags=tags
    )


def _counter(
    name: str, description: str, value: float, tags: tuple[tuple[str, str], ...] = ()
) -> Reading:
    return Reading(
        name=f"cartwright_{name}", description=description, kind="counter", value=value, tags=tags
    )

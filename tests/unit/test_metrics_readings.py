"""Counters become readings by Prometheus' conventions."""

import asyncio
from collections.abc import Iterable

import pytest

from serving.coalescing.coalescer import CoalescerStats, Departure
from serving.ingress.admission import AdmissionStats
from serving.metrics.readings import (
    Reading,
    admission_readings,
    coalescer_readings,
    keep_publishing,
)
from serving.models.version import ModelVersion


def test_batch_sizes_are_cumulative_and_told_by_model() -> None:
    stats = CoalescerStats(calls=9, waiting=2, under_way=1)
    stats.batches.update({1: 3, 3: 1, 16: 2})
    stats.departures.update({Departure.FREE: 3, Departure.FULL: 3})
    readings = coalescer_readings({ModelVersion("encoder", 3): stats})
    both = (("model", "encoder"), ("version", "3"))
    assert all(reading.tags[:2] == both for reading in readings)
    by_rows = {
        dict(r.tags)["rows"]: r.value
        for r in readings
        if r.name == "cartwright_model_batches_total"
    }
    assert [by_rows[rows] for rows in ("1", "2", "4", "8", "16", "256")] == [3, 3, 4, 4, 6, 6]
    single = {r.name: r.value for r in readings if len(r.tags) == 2}
    assert single["cartwright_model_calls_waiting"] == 2
    assert single["cartwright_model_batch_rows_total"] == 3 + 3 + 32
    reasons = {
        dict(r.tags)["reason"] for r in readings if r.name == "cartwright_model_departures_total"
    }
    assert reasons == {"free", "full"}


def test_counters_end_in_total_and_gauges_do_not() -> None:
    stats = AdmissionStats(limit=7, in_flight=3)
    stats.admitted["BUY"] = 4
    stats.refused["BROWSE"] = 2
    everything = [
        *coalescer_readings({ModelVersion("m", 1): CoalescerStats()}),
        *admission_readings(stats),
    ]
    for reading in everything:
        assert reading.name.startswith("cartwright_")
        assert reading.name.endswith("_total") == (reading.kind == "counter")
        assert reading.description


async def test_readings_are_taken_until_it_is_cancelled() -> None:
    class Kept:
        def __init__(self) -> None:
            self.times = 0
            self.enough = asyncio.Event()

        def take(self, readings: Iterable[Reading]) -> None:
            assert list(readings)
            self.times += 1
            if self.times == 3:
                self.enough.set()

    kept = Kept()
    task = asyncio.create_task(
        keep_publishing(lambda: admission_readings(AdmissionStats()), kept, 0.001)
    )
    await asyncio.wait_for(kept.enough.wait(), 5.0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_bad_round_is_logged_and_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    taken = asyncio.Event()

    class Stumbling:
        def __init__(self) -> None:
            self.rounds = 0

        def take(self, readings: Iterable[Reading]) -> None:
            self.rounds += 1
            if self.rounds == 1:
                raise ZeroDivisionError
            taken.set()

    task = asyncio.create_task(keep_publishing(list, Stumbling(), 0.001))
    await asyncio.wait_for(taken.wait(), 5.0)
    task.cancel()
    await asyncio.wait({task})
    assert "metrics could not be published" in caplog.text

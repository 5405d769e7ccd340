import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import generators, outcomes
from loadtest.histogram import Histogram, merged
from loadtest.measures import degraded_steps, measure, server_steps
from loadtest.outcomes import Outcome
from loadtest.record import Record, Sample, slot_length_s
from loadtest.saturation import find_knee, find_overload, find_steps
from loadtest.shapes import Shape, overload, steps

MILLISECONDS = st.floats(0.02, 1e6)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(values=st.lists(MILLISECONDS, min_size=1, max_size=60), share=st.floats(0.01, 1))
def test_percentiles_are_within_one_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert filled(values).percentile(share) == pytest.approx(exact, rel=0.0101)


@given(st.lists(st.lists(MILLISECONDS, max_size=20), max_size=5))
def test_merging_is_the_same_as_counting_together(parts: list[list[float]]) -> None:
    together = filled([value for part in parts for value in part])
    one = merged(filled(part) for part in parts)
    assert (one.count, one.max_ms) == (together.count, together.max_ms)
    assert one.sum_ms == pytest.approx(together.sum_ms)
    assert one.percentile(0.9) == together.percentile(0.9)


@given(st.lists(st.floats(0, 1e6), max_size=40))
def test_a_histogram_survives_the_wire(values: list[float]) -> None:
    sent = json.loads(json.dumps(filled(values).packed()))
    arrived = Histogram.unpacked(sent)
    assert arrived.packed() == filled(values).packed()
    assert arrived.count == len(values)


def test_an_empty_histogram_knows_nothing() -> None:
    assert Histogram().percentile(0.5) is None
    assert Histogram().mean_ms is None
    assert Histogram().share_within(1.0) == 1.0


def call(
    at_s: float,
    *,
    name: str = outcomes.OK,
    method: str = "Answer",
    service_ms: float = 10.0,
    **others: object,
) -> Outcome:
    return Outcome(method=method, name=name, scheduled_s=at_s, service_ms=service_ms, **others)  # type: ignore[arg-type]


def test_a_record_in_parts_is_the_same_as_one() -> None:
    calls = [
        call(0.1, server_steps=(("total", 8.0), ("encode", 3.0))),
        call(0.7, name=outcomes.DEGRADED, degraded_steps=("retrieve",)),
        call(0.8, name=outcomes.REFUSED, service_ms=1.0, retry_after_ms=250.0),
        call(1.2, method="ConverseStream", first_event_ms=4.0, lateness_ms=2.0),
        call(1.3, name=outcomes.GENERATOR_SATURATED),
    ]
    whole, parts = Record(0.5), Record(0.5)
    for one in calls:
        whole.add(one)
        part = Record(0.5)
        part.add(one)
        part.samples.append(
            Sample(process="1", at_s=one.scheduled_s, cpu_share=0.1, in_flight=1, users=1)
        )
        parts.merge(Record.unpacked(json.loads(json.dumps(part.packed()))))
    assert measure(parts, [(0, 2)]) == measure(whole, [(0, 2)])
    assert server_steps(parts, [(0, 2)]) == server_steps(whole, [(0, 2)])
    assert degraded_steps(parts, [(0, 2)]) == {"retrieve": 1}
    assert len(parts.samples) == len(calls)


def test_records_with_other_slots_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="slots"):
        Record(0.5).merge(Record(1.0))


def test_a_measure_tells_outcomes_apart() -> None:
    record = Record(0.5)
    for at_s in (0.1, 0.6, 1.1):
        record.add(call(at_s, service_ms=10.0))
    record.add(call(0.2, name=outcomes.TIMED_OUT, service_ms=2000.0))
    record.add(call(0.3, name=outcomes.REFUSED, service_ms=1.0, retry_after_ms=250.0))
    record.add(call(0.3, name=outcomes.REFUSED, service_ms=1.0))
    record.add(call(0.4, name=outcomes.GENERATOR_SATURATED))
    record.add(call(0.4, name=outcomes.DEGRADED, method="Converse"))
    record.add(call(7.0, name="INTERNAL"))
    found = measure(record, [(0, 2)])
    assert (found.offered, found.sent, found.failed) == (8, 7, 3)
    assert found.admitted.count == 5, "OK, degraded and timed out"
    assert found.admitted.max_ms == 2000.0, "a call that met its deadline is not left out"
    assert found.refused.p50_ms == pytest.approx(1.0, rel=0.02)
    assert found.retry_after_share == 0.5
    assert found.goodput_per_s == 1.5
    assert found.saturated_share == pytest.approx(1 / 8)
    assert measure(record, [(0, 2)], "Converse").goodput_per_s == 0.0, "degraded is not good"
    assert measure(record, [(5, 6)]).failed_share == 0.0


def test_latency_counts_from_the_schedule_and_goodput_from_the_arrival() -> None:
    record = Record(0.5)
    record.add(call(0.9, lateness_ms=300.0, service_ms=400.0))
    early, late = measure(record, [(0, 1)]), measure(record, [(1, 2)])
    assert early.admitted.p50_ms == pytest.approx(700.0)
    assert early.lateness.p99_ms == pytest.approx(300.0, rel=0.0101)
    assert (early.completed, late.completed) == (0, 1)


def test_long_runs_get_longer_slots() -> None:
    assert slot_length_s(10) == 0.5
    assert slot_length_s(120) == 0.5
    assert slot_length_s(121) == 1.0
    assert slot_length_s(36_000) == 150.0


def offered(shape: Shape, answer: dict[str, tuple[float, str, float]]) -> Record:
    """Every phase's calls, evenly; by phase: the good part, what the rest is, and the good's ms."""
    record = Record(0.5)
    for phase in shape.phases:
        good, other, service_ms = answer[phase.name]
        for i, at_s in enumerate(np.arange(phase.start_s, phase.end_s, 1 / phase.to_level)):
            ok = int((i + 1) * good) > int(i * good)
            name, took_ms = (outcomes.OK, service_ms) if ok else (other, 2.0)
            record.add(call(float(at_s), name=name, service_ms=took_ms, retry_after_ms=None))
    return record


def test_the_knee_of_an_open_model_is_the_last_step_that_keeps_up() -> None:
    shape = steps(level=50, factor=2, count=4, hold_s=4)
    names = [phase.name for phase in shape.phases]
    shares = dict(zip(names, [1.0, 1.0, 0.6, 0.3], strict=True))
    record = offered(shape, {n: (share, outcomes.REFUSED, 10.0) for n, share in shares.items()})
    knee = find_knee(find_steps(record, shape), open_model=True)
    assert knee.level == 100
    assert knee.peak_goodput_per_s == pytest.approx(120, rel=0.1)


def test_the_knee_of_a_closed_model_is_the_first_step_near_the_best() -> None:
    shape = steps(level=100, factor=2, count=3, hold_s=4)
    names = [phase.name for phase in shape.phases]
    # Users double; goodput goes 50, 100, 102.
    shares = dict(zip(names, [0.5, 0.5, 0.255], strict=True))
    record = offered(shape, {n: (share, outcomes.REFUSED, 10.0) for n, share in shares.items()})
    assert find_knee(find_steps(record, shape), open_model=False).level == 200


def test_no_step_may_be_before_the_knee() -> None:
    shape = steps(level=50, factor=2, count=2, hold_s=4)
    record = offered(shape, {phase.name: (0.5, "INTERNAL", 10.0) for phase in shape.phases})
    assert find_knee(find_steps(record, shape), open_model=True).level is None
    empty = find_knee(find_steps(Record(0.5), shape), open_model=False)
    assert (empty.level, empty.peak_goodput_per_s) == (None, 0.0)


OVERLOAD = overload(saturation=100, half_s=4, peak_s=4, twice_s=4, recovery_s=8)


def test_an_overload_is_measured_against_the_peak() -> None:
    record = offered(
        OVERLOAD,
        {
            "half": (1.0, outcomes.REFUSED, 10.0),
            "saturation": (1.0, outcomes.REFUSED, 20.0),
            "twice": (0.475, outcomes.REFUSED, 40.0),
            "recovery": (1.0, outcomes.REFUSED, 10.0),
        },
    )
    found = find_overload(record, OVERLOAD)
    assert found is not None
    assert found.peak_goodput_per_s == pytest.approx(100, rel=0.05)
    assert found.goodput_share == pytest.approx(0.95, abs=0.08)
    assert found.during.admitted.p99_ms == pytest.approx(40, rel=0.02)
    assert found.during.refused.p99_ms == pytest.approx(2, rel=0.02)
    assert found.during.retry_after_share == 0.0
    assert found.recovery_s == 0.0
    known = find_overload(record, OVERLOAD, known_peak_per_s=200.0)
    assert known is not None
    assert known.goodput_share == pytest.approx(0.475, abs=0.04)


@pytest.mark.parametrize(
    ("bad_for_s", "name", "service_ms"),
    [(2.5, outcomes.REFUSED, 2.0), (2.5, outcomes.OK, 500.0), (2.5, outcomes.DEGRADED, 10.0)],
    ids=["refusals go on", "replies stay slow", "replies stay degraded"],
)
def test_recovery_ends_when_calls_are_answered_as_before(
    bad_for_s: float, name: str, service_ms: float
) -> None:
    record = Record(0.5)
    for at_s in np.arange(0, OVERLOAD.duration_s, 0.02):
        bad = 8 <= at_s < 12 + bad_for_s
        record.add(
            call(
                float(at_s),
                name=name if bad else outcomes.OK,
                service_ms=service_ms if bad else 10.0,
            )
        )
    found = find_overload(record, OVERLOAD)
    assert found is not None
    assert found.recovery_s == bad_for_s


def test_no_recovery_is_no_number() -> None:
    record = Record(0.5)
    for at_s in np.arange(0, OVERLOAD.duration_s, 0.05):
        record.add(call(float(at_s), service_ms=10.0 if at_s < 8 else 900.0))
    found = find_overload(record, OVERLOAD)
    assert found is not None
    assert found.recovery_s is None
    assert find_overload(record, steps(level=1, factor=2, count=2, hold_s=1)) is None


def samples(process: str, shares: list[float]) -> list[Sample]:
    return [
        Sample(process=process, at_s=float(i), cpu_share=share, in_flight=0, users=1)
        for i, share in enumerate(shares)
    ]


def test_a_generator_that_is_the_bottleneck_says_so() -> None:
    record = Record(0.5)
    for i in range(50):
        record.add(call(i / 10, lateness_ms=80.0 if i % 10 == 0 else 0.1))
    record.add(call(3.0, name=outcomes.TIMED_OUT, service_ms=2900.0))
    record.add(call(4.0, name=outcomes.GENERATOR_SATURATED))
    looks = samples("1", [0.2] * 9 + [1.0]) + samples("2", [0.95] * 10)
    found = generators.warnings(looks, measure(record, [(0, 5)]), 2000.0)
    assert len(found) == 4
    assert "process 2 used 95%" in found[0]
    assert "sent late" in found[1]
    assert "900 ms after its deadline" in found[2]
    assert "never sent" in found[3]


def test_a_generator_with_time_to_spare_says_nothing() -> None:
    record = Record(0.5)
    record.add(call(0.1))
    assert generators.warnings(samples("1", [0.5] * 10), measure(record, [(0, 5)]), 2000.0) == []
    assert generators.warnings([], measure(record, [(0, 5)]), 2000.0) == []


def test_the_watch_sees_this_process_work() -> None:
    ticks = iter([10.0, 12.0])
    watch = generators.ProcessWatch("1", lambda: next(ticks))
    # The kernel counts in steps of 10 ms.
    began_s = time.process_time()
    while time.process_time() - began_s < 0.05:
        pass
    sample = watch.sample(at_s=2.0, in_flight=3, users=4)
    assert 0 < sample.cpu_share < 1
    assert (sample.at_s, sample.in_flight, sample.users) == (2.0, 3, 4)

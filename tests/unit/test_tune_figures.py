"""From looks to figures: medians, drift and noise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.serving_profile import TunedHosting
from model_build.tune.figures import (
    SMALLEST_BAND,
    Look,
    drift,
    estimate,
    noise_band,
    scatter,
)

POINT = TunedHosting(
    instances=2, intra_op_threads=1, max_queue_delay_microseconds=0, max_batch_rows=8
)
SPEEDS = st.floats(1, 10_000)


def look(at_s: float = 0.0, requests_per_s: float = 500.0, **changes: object) -> Look:
    made = Look(
        at_s=at_s,
        concurrency=8,
        requests=500,
        errors=0,
        requests_per_s=requests_per_s,
        p50_ms=10.0,
        p99_ms=20.0,
        server_cpu_ms=0.3,
        instances_cpu_ms=1.6,
        generator_cpu_ms=0.25,
        batches={1: 80, 2: 10},
        memory_mib=160.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_an_estimate_is_made_of_medians_and_sums() -> None:
    looks = [look(requests_per_s=speed) for speed in (400.0, 900.0, 500.0)]
    looks[1] = replace(looks[1], p99_ms=500.0, errors=2, batches={8: 5})
    found = estimate(POINT, looks)
    assert (found.looks, found.errors) == (3, 2)
    assert (found.requests_per_s, found.p99_ms) == (500.0, 20.0)
    assert found.cpu_ms == pytest.approx(1.9)
    assert found.generator_cores == pytest.approx(0.125)
    assert found.batches == {1: 160, 2: 20, 8: 5}
    assert found.mean_batch_rows == pytest.approx(240 / 185)
    with pytest.raises(ValueError, match="2x1-b8-d0: no look"):
        estimate(POINT, [])


@given(st.lists(st.tuples(st.floats(0, 600), SPEEDS), min_size=1, max_size=20))
def test_the_drift_lies_within_what_was_seen(seen: list[tuple[float, float]]) -> None:
    speed = drift([look(at_s, requests_per_s) for at_s, requests_per_s in seen])
    speeds = [s for _, s in seen]
    middle = float(np.median(speeds))
    for at_s in (-10.0, *np.linspace(0, 600, 7), 1000.0):
        assert min(speeds) / middle * 0.999 <= speed(at_s) <= max(speeds) / middle * 1.001


@given(st.lists(SPEEDS, min_size=1, max_size=9), st.floats(0.05, 1.0))
def test_calibration_takes_out_a_drift_that_meets_all_alike(
    machine: list[float], share: float
) -> None:
    # A point that does `share` of what the calibrating one does, whatever the machine does.
    calibration = [look(10.0 * i, s) for i, s in enumerate(machine)]
    looks = [look(10.0 * i, s * share) for i, s in enumerate(machine)]
    found = estimate(POINT, looks, drift(calibration))
    expected = share * float(np.median(machine))
    assert np.allclose(found.speeds, expected)
    # Latencies stay as they were: their bound is absolute.
    assert found.p99_ms == 20.0


def test_looks_without_answers_calibrate_nothing() -> None:
    with pytest.raises(ValueError, match="no look has an answered request"):
        drift([look(requests=0, requests_per_s=0.0)])


@given(st.integers(0, 2**31), st.floats(0.01, 0.2))
def test_the_scatter_is_found_though_some_looks_are_spoilt(seed: int, deviation: float) -> None:
    rng = np.random.default_rng(seed)
    repeats = 500.0 * np.exp(deviation * rng.normal(size=(30, 9)))
    repeats[:, 0] *= 0.3
    found = scatter(repeats.tolist())
    assert found is not None
    assert 0.7 * deviation < found < 2.0 * deviation


def test_without_repeats_there_is_no_scatter() -> None:
    assert scatter([]) is None
    assert scatter([[1.0], [2.0]]) is None
    assert scatter([[5.0, 5.0]]) == 0.0


@given(st.floats(0, 2), st.integers(1, 100))
def test_more_looks_narrow_the_band(deviation: float, looks: int) -> None:
    assert SMALLEST_BAND <= noise_band(deviation, looks + 1) <= noise_band(deviation, looks)

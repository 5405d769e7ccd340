"""Pareto front, survivors and choice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.serving_profile import TunedHosting
from model_build.tune.choose import choose, keeps, nearest, pareto_front, survivors
from model_build.tune.figures import Estimate
from model_build.tune.grid import Axes, simplicity

POINTS = Axes(
    lanes=((1, 1), (1, 2), (2, 1), (2, 2), (4, 1)),
    delays_microseconds=(0, 500, 2000),
    batch_rows=(1, 8, 32),
).points()


def found(point: TunedHosting, requests_per_s: float, p99_ms: float, errors: int = 0) -> Estimate:
    return Estimate(
        point=point,
        looks=5,
        errors=errors,
        requests_per_s=requests_per_s,
        p50_ms=p99_ms / 2,
        p99_ms=p99_ms,
        server_cpu_ms=0.3,
        instances_cpu_ms=1.6,
        generator_cpu_ms=0.2,
        generator_cores=0.1,
        batches={1: 10},
        memory_mib=100.0,
        speeds=(requests_per_s,),
    )


@st.composite
def estimates(draw: st.DrawFn) -> list[Estimate]:
    points = draw(st.lists(st.sampled_from(POINTS), min_size=1, unique=True))
    # Few values, so that ties are frequent.
    return [
        found(
            point,
            draw(st.integers(1, 20)) * 50.0,
            draw(st.integers(1, 12)) * 5.0,
            draw(st.sampled_from([0, 0, 0, 3])),
        )
        for point in points
    ]


LIMIT_MS = st.floats(1, 70)
BAND = st.floats(0, 0.3)


@settings(max_examples=40)
@given(estimates())
def test_the_front_is_what_nothing_beats(drawn: list[Estimate]) -> None:
    front = pareto_front(drawn)
    sound = [e for e in drawn if not e.errors]
    assert bool(front) is bool(sound)
    assert front <= {e.point for e in sound}
    for one in sound:
        better = [
            e
            for e in sound
            if e.requests_per_s >= one.requests_per_s
            and e.p99_ms <= one.p99_ms
            and (e.requests_per_s, e.p99_ms) != (one.requests_per_s, one.p99_ms)
        ]
        assert (one.point in front) is not bool(better)
        # Whoever is beaten is beaten by one of the front.
        assert not better or any(e.point in front for e in better)


@settings(max_examples=40)
@given(estimates(), LIMIT_MS, BAND)
def test_the_choice_keeps_the_bound_and_is_fast_and_simple(
    drawn: list[Estimate], limit_ms: float, band: float
) -> None:
    choice = choose(drawn, limit_ms, band)
    within = [e for e in drawn if keeps(e, limit_ms)]
    if choice is None:
        assert not within
        return
    best = max(e.requests_per_s for e in within)
    assert choice.fastest.requests_per_s == best
    assert choice.chosen in within
    assert choice.chosen.requests_per_s >= best * (1 - band)
    for other in within:
        as_fast = other.requests_per_s >= best * (1 - band)
        assert (other.point in choice.equivalent) is as_fast
        if as_fast:
            assert simplicity(choice.chosen.point) <= simplicity(other.point)


@settings(max_examples=40)
@given(estimates(), LIMIT_MS, BAND, st.randoms(use_true_random=False))
def test_the_order_of_the_measurements_does_not_matter(
    drawn: list[Estimate], limit_ms: float, band: float, random: "np.random.Generator"
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[arg-type]
    assert choose(shuffled, limit_ms, band) == choose(drawn, limit_ms, band)
    assert nearest(shuffled) == nearest(drawn)
    assert survivors(shuffled, 5, limit_ms, band) == survivors(drawn, 5, limit_ms, band)


@settings(max_examples=40)
@given(estimates(), LIMIT_MS, BAND, st.integers(1, 12))
def test_what_would_be_chosen_now_survives(
    drawn: list[Estimate], limit_ms: float, band: float, keep: int
) -> None:
    kept = survivors(drawn, keep, limit_ms, band)
    assert len(kept) == len(set(kept)) == min(keep, len(drawn))
    choice = choose(drawn, limit_ms, band)
    if choice is None:
        assert kept[0] == nearest(drawn).point
        return
    assert kept[0] == choice.fastest.point
    if keep > 1:
        assert choice.chosen.point in kept


@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_a_rerun_on_the_same_machine_picks_an_equivalent_point(seed: int) -> None:
    """True speeds, measured twice with 2 % noise in what is left of it after the medians."""
    rng = np.random.default_rng(seed)
    speeds = {p: 300.0 + 100.0 * min(p.instances, 2) + 5.0 * rng.random() for p in POINTS}
    picked = []
    for _ in range(2):
        measured = [found(p, s * (1 + 0.02 * rng.uniform(-1, 1)), 20.0) for p, s in speeds.items()]
        choice = choose(measured, 30.0, 0.06)
        assert choice is not None
        picked.append(choice.chosen.point)
    best = max(speeds.values())
    assert all(speeds[point] >= best * (1 - 0.06) * 0.96 for point in picked)
    # Far above the noise, the simplest equal wins both times.
    assert picked[0] == picked[1]


def test_nearest_misses_by_least_and_answers() -> None:
    one, two, three = (found(POINTS[i], 100.0, p99) for i, p99 in enumerate((50.0, 40.0, 30.0)))
    assert nearest([one, two, three]) == three
    assert nearest([one, two, replace(three, errors=1)]) == two


@pytest.mark.parametrize("p99_ms", [29.0, 30.0])
def test_failed_requests_exclude_a_point(p99_ms: float) -> None:
    good = found(POINTS[3], 100.0, p99_ms)
    bad = found(POINTS[0], 900.0, 5.0, errors=1)
    choice = choose([good, bad], 30.0, 0.05)
    assert choice is not None
    assert choice.chosen == good
    assert pareto_front([good, bad]) == {good.point}

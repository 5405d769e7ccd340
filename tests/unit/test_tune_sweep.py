"""Whole sweeps over a simulated machine."""

import numpy as np
import pytest

from model_build.tune.grid import simplicity
from serving.errors import StartupError
from tests.fakes.tuning import IN_USE, POINTS, SimulatedHost, run_sweep, sweep_options, true_speed


async def test_reruns_on_a_drifting_machine_pick_equivalent_points() -> None:
    best = max(map(true_speed, POINTS))
    for seed in range(12):
        result, _ = await run_sweep(
            SimulatedHost(np.random.default_rng(seed)), sweep_options(), seed
        )
        assert result.choice is not None
        chosen = result.choice.chosen.point
        assert true_speed(chosen) >= best * (1 - result.noise_band - 0.01)
        # The simplest lane of the three that are equally fast.
        assert (chosen.instances, chosen.intra_op_threads) == (2, 1)
        assert chosen.max_queue_delay_microseconds == 0
        # The drift is far larger than the noise: it was taken out.
        assert result.calibrated
        assert result.deviation < 0.1


async def test_the_time_is_kept_and_the_survivors_are_looked_at_most() -> None:
    host = SimulatedHost(np.random.default_rng(3))
    asked = sweep_options()
    result, stages = await run_sweep(host, asked)
    assert host.now_s <= asked.seconds * 1.02
    assert set(host.looked) == set(POINTS)
    assert stages == sorted(stages)
    assert set(stages) == {1, 2, 3}
    dropped = [host.looked[p] for p in POINTS if p not in result.finalists]
    assert min(host.looked[p] for p in result.finalists) > max(dropped)
    # The one in use calibrates: nobody is looked at more often.
    assert host.looked.most_common(1)[0][0] == IN_USE
    assert IN_USE in result.finalists
    assert host.levels == {1, 8, 32}
    assert set(result.others) == {1, 32}
    for level in result.others:
        assert set(result.others[level]) >= set(result.finalists)


async def test_slower_loads_than_planned_leave_shorter_looks_not_a_longer_sweep() -> None:
    asked = sweep_options(load_s=0.1)
    host = SimulatedHost(np.random.default_rng(4))
    await run_sweep(host, asked)
    assert host.now_s <= asked.seconds * 1.1


async def test_a_point_that_fails_is_left_out_and_named() -> None:
    broken = frozenset(p for p in POINTS if p.instances == 2)
    host = SimulatedHost(np.random.default_rng(5), broken=broken)
    result, _ = await run_sweep(host, sweep_options())
    assert result.failed == dict.fromkeys(broken, "broken on purpose")
    assert not broken & {e.point for e in result.estimates}
    assert result.choice is not None
    assert result.choice.chosen.point.instances == 4


async def test_nothing_is_compared_with_a_point_in_use_that_fails() -> None:
    host = SimulatedHost(np.random.default_rng(6), broken=frozenset({IN_USE}))
    with pytest.raises(StartupError, match=r"1x2-b32-d2000, the hosting in use.*broken on purpose"):
        await run_sweep(host, sweep_options())


async def test_a_bound_that_none_keeps_leaves_the_nearest() -> None:
    host = SimulatedHost(np.random.default_rng(7))
    result, _ = await run_sweep(host, sweep_options(p99_limit_ms=5.0))
    assert result.choice is None
    # The fastest have the shortest p99 here.
    assert true_speed(result.nearest.point) >= 690.0 * 0.9


async def test_too_little_time_is_said_before_anything_is_measured() -> None:
    host = SimulatedHost(np.random.default_rng(8))
    with pytest.raises(StartupError, match=rf"{len(POINTS) - 1} points need at least .* minutes"):
        await run_sweep(host, sweep_options(seconds=10.0))
    assert not host.looked


async def test_noise_beyond_the_widest_band_does_not_excuse_a_slow_choice() -> None:
    host = SimulatedHost(np.random.default_rng(9), noise=0.8, drift=0.0)
    result, _ = await run_sweep(host, sweep_options(p99_limit_ms=1000.0))
    assert result.noise > result.noise_band == 0.1
    assert result.choice is not None
    chosen, fastest = result.choice.chosen, result.choice.fastest
    assert chosen.requests_per_s >= 0.9 * fastest.requests_per_s


async def test_a_sweep_of_the_point_in_use_alone_measures_it() -> None:
    host = SimulatedHost(np.random.default_rng(10))
    result, _ = await run_sweep(host, sweep_options(points=(IN_USE,), seconds=20.0))
    assert result.choice is not None
    assert result.choice.chosen.point == IN_USE
    assert simplicity(IN_USE) == simplicity(result.choice.fastest.point)
    assert result.choice.chosen.looks >= 3

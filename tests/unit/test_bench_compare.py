"""What a comparison of two runs reports, on results made up with known noise and known changes."""

from dataclasses import dataclass

import numpy as np
import pytest

from loadtest.bench.compare import Change, compare, only_in_one
from loadtest.bench.results import Point, Results

VARIANTS = ("stack inline", "stack deployments", "null model", "echo")
LEVELS = (1, 16, 64)


@dataclass(frozen=True)
class Machine:
    """Makes runs whose figures differ by noise, and by `changes` at some points."""

    noise: float
    rounds: int = 3

    def run(
        self, rng: np.random.Generator, changes: dict[tuple[str, int], float] | None = None
    ) -> Results:
        points = [
            self._point(rng, variant, level, number, (changes or {}).get((variant, level), 1.0))
            for number in range(self.rounds)
            for variant in VARIANTS
            for level in LEVELS
        ]
        return Results(
            started_at="",
            took_s=1.0,
            about={},
            limit_setting="",
            limits=(),
            points=tuple(points),
            idle=(),
        )

    def _point(
        self, rng: np.random.Generator, variant: str, level: int, number: int, factor: float
    ) -> Point:
        def noisy(value: float) -> float:
            return float(value * np.exp(rng.normal(0.0, self.noise)))

        return Point(
            variant=variant,
            method="Understand",
            load="closed",
            in_flight=level,
            round=number,
            requests=round(noisy(1_000_000.0 * factor)),
            seconds=1000.0,
            p50_ms=noisy(level * 1.3),
            p90_ms=level * 2.0,
            p99_ms=noisy(level * 4.0),
            errors={},
            refused=0,
            degraded=0,
            wrong=0,
            checked=0,
            limit_before=1500.0,
            limit_after=1500.0,
            cpu_ms={"replica": noisy(0.5), "model understanding": 1.0, "load generator": 9.0},
            request_rows={},
            batch_sizes={},
        )


def reported(changes: list[Change]) -> dict[tuple[str, int, str], bool]:
    """What moved, and whether for the better."""
    return {(c.key[0], c.key[3], c.figure): c.better for c in changes if c.beyond_noise}


@pytest.mark.parametrize("noise", [0.005, 0.05, 0.2])
def test_of_two_equal_runs_nothing_is_reported(noise: float) -> None:
    machine = Machine(noise)
    false_alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changes = compare(machine.run(rng), machine.run(rng), rng)
        assert len(changes) == 4 * len(VARIANTS) * len(LEVELS)
        false_alarms += bool(reported(changes))
    # One run in twenty may be unlucky; more than three of twenty has a chance of 2%.
    assert false_alarms <= 3


def test_a_run_compared_with_itself_shows_no_change_at_all() -> None:
    run = Machine(0.0).run(np.random.default_rng(0))
    changes = compare(run, run, np.random.default_rng(1))
    assert {change.ratio for change in changes} == {1.0}
    assert not reported(changes)


def test_finds_the_points_that_moved_and_no_others() -> None:
    rng = np.random.default_rng(4)
    machine = Machine(0.03, rounds=5)
    moved = {("stack inline", 16): 1.4, ("stack inline", 64): 1.5, ("null model", 1): 0.6}
    changes = compare(machine.run(rng), machine.run(rng, moved), rng)
    assert reported(changes) == {
        (variant, level, "share of the limit"): factor > 1.0
        for (variant, level), factor in moved.items()
    }
    for change in changes[: len(moved)]:
        assert change.low < moved[change.key[0], change.key[3]] < change.high


def test_more_noise_hides_the_same_change() -> None:
    moved = {("echo", 16): 1.15}
    found = []
    for noise in (0.005, 0.2):
        rng = np.random.default_rng(2)
        machine = Machine(noise)
        changes = compare(machine.run(rng), machine.run(rng, moved), rng)
        found.append(("echo", 16, "share of the limit") in reported(changes))
    assert found == [True, False]


def test_a_small_change_means_nothing_however_sure_it_is() -> None:
    rng = np.random.default_rng(3)
    machine = Machine(0.0005, rounds=8)
    changes = compare(machine.run(rng), machine.run(rng, {("echo", 16): 1.01}), rng)
    assert changes[0].p_value < 0.001
    assert not reported(changes)


def test_a_single_round_cannot_be_compared_and_missing_points_are_named() -> None:
    rng = np.random.default_rng(0)
    once, thrice = Machine(0.1, rounds=1).run(rng), Machine(0.1).run(rng)
    assert compare(once, thrice, rng) == []
    rest = thrice.model_copy(update={"points": thrice.points[1:2]})
    first, second = only_in_one(thrice, rest)
    assert len(first) == len(VARIANTS) * len(LEVELS) - 1
    assert second == []

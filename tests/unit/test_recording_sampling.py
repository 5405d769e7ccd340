"""Which requests are recorded."""

import random

import pytest

from serving.recording.sampling import Sampler


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def taken(sampler: Sampler, requests: int) -> int:
    return sum(sampler.wants() for _ in range(requests))


def test_no_more_than_the_rate_is_taken_however_much_comes() -> None:
    clock = Clock()
    sampler = Sampler(1.0, 5.0, clock_s=clock)
    assert taken(sampler, 100) == 5
    seconds = 60
    total = 0
    for _ in range(seconds * 100):
        clock.now_s += 0.01
        total += taken(sampler, 3)
    assert total == pytest.approx(5 * seconds, abs=1)


def test_what_is_not_used_is_kept_for_a_second_and_no_longer() -> None:
    clock = Clock()
    sampler = Sampler(1.0, 5.0, clock_s=clock)
    taken(sampler, 100)
    clock.now_s += 3600.0
    assert taken(sampler, 100) == 5


def test_a_rate_below_one_a_second_takes_one_now_and_then() -> None:
    clock = Clock()
    sampler = Sampler(1.0, 0.1, clock_s=clock)
    assert taken(sampler, 10) == 1
    clock.now_s += 9.9
    assert taken(sampler, 10) == 0
    clock.now_s += 0.2
    assert taken(sampler, 10) == 1


def test_a_share_is_taken_by_chance() -> None:
    sampler = Sampler(0.1, 1e9, rng=random.Random(1))
    assert taken(sampler, 20_000) == pytest.approx(2_000, rel=0.1)


def test_what_chance_leaves_out_costs_nothing_of_the_rate() -> None:
    clock = Clock()
    sampler = Sampler(0.01, 2.0, rng=random.Random(1), clock_s=clock)
    assert taken(sampler, 10_000) == 2

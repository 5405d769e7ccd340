"""The rules against a model of the deployment under a sine load, for a hundred cycles each."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scaling.decide import Action, Decision, Rules, State, decide
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    QUEUE_MS,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)
from serving.scaling.ray_policy import mean_of
from serving.scaling.signals import InFlightTarget, QueueTarget

CYCLES = 100
MAXIMUM = 6
WINDOW = 3
# One host of the model: rows a second, and seconds until a new one serves.
CAPACITY = 100.0
START_S = 2

# Second -> offered load.
Offered = Callable[[int], float]


@dataclass
class Pipelines:
    """Load is what it is, however many carry it."""

    def step(self, offered: float, running: int) -> dict[str, float]:
        """What each replica reports for one second."""
        return {IN_FLIGHT: offered / running}


@dataclass
class Hosts:
    """Fluid queue: the waiting time of M/M/1 below capacity, and a backlog above it."""

    backlog: float = 0.0

    def step(self, offered: float, running: int) -> dict[str, float]:
        """What each host reports for one second."""
        capacity = CAPACITY * running
        served = min(offered + self.backlog, capacity)
        self.backlog = min(self.backlog + offered - served, 10 * capacity)
        use = min(offered / capacity, 0.98)
        queue_s = use / (1 - use) / CAPACITY + self.backlog / capacity
        return {
            QUEUE_MS: queue_s * 1000.0,
            PENDING: offered * queue_s / running,
            REQUESTS_PER_S: served / running,
            ROWS_PER_S: served / running,
        }


@dataclass
class Run:
    """A deployment, second by second; replicas that are decided on serve some seconds later."""

    rules: Rules
    model: Pipelines | Hosts
    target: int = 1
    now: int = 0
    state: State = field(default_factory=State)
    changes: list[tuple[int, Decision]] = field(default_factory=list)

    def through(self, seconds: int, offered: Offered) -> None:
        """Runs on for so many seconds."""
        running, ready_at = self.target, self.now
        window: deque[dict[str, float]] = deque(maxlen=WINDOW)
        began, self.now = self.now, self.now + seconds
        for now in range(began, self.now):
            if running < self.target and now >= ready_at:
                running = self.target
            running = min(running, self.target)
            window.append(self.model.step(offered(now), running))
            values = mean_of(window)
            seen = Observation(
                time_s=float(now),
                running=running,
                target=self.target,
                reports=tuple(
                    ReplicaReport(replica=str(i), age_s=0.5, values=values) for i in range(running)
                ),
            )
            decision, self.state = decide(self.rules, self.state, seen)
            if decision.target != self.target:
                self.changes.append((now, decision))
                if decision.target > self.target:
                    ready_at = now + START_S
            self.target = decision.target
            assert self.rules.minimum <= self.target <= self.rules.maximum

    def turns(self) -> int:
        """How often it changed from growing to shrinking or back."""
        actions = [decision.action for _, decision in self.changes]
        return sum(before is not after for before, after in pairwise(actions))

    def check_cool_downs(self) -> None:
        """Every change keeps its distance from the last one of its kind; down is one at a time."""
        last_up = last_any = -math.inf
        number = self.rules.minimum
        for now, decision in self.changes:
            if decision.action is Action.UP:
                assert now - last_up >= self.rules.cool_down_up_s
                last_up = now
            else:
                assert decision.target == number - 1
                assert now - last_any >= self.rules.cool_down_down_s
            last_any, number = now, decision.target


def rules(target: InFlightTarget | QueueTarget) -> Rules:
    return Rules(
        minimum=1,
        maximum=MAXIMUM,
        target=target,
        cool_down_up_s=2.0,
        cool_down_down_s=15.0,
        stale_after_s=10.0,
    )


def sine(middle: float, swing: float, period_s: int, noise: float, seed: int) -> Offered:
    drawn = np.random.default_rng(seed).normal(1.0, noise, size=CYCLES * period_s)

    def offered(now: int) -> float:
        wave = middle * (1 + swing * math.sin(2 * math.pi * now / period_s))
        return max(0.0, float(wave * drawn[now]))

    return offered


LOADS = {
    "middle": st.floats(0.2, 1.2),
    "swing": st.floats(0.0, 1.0),
    "period_s": st.sampled_from([10, 20, 40, 75]),
    "noise": st.floats(0.0, 0.15),
    "seed": st.integers(0, 2**16),
}


@given(**LOADS)
@settings(max_examples=5)
def test_pipelines_do_not_flap_under_a_sine(
    middle: float, swing: float, period_s: int, noise: float, seed: int
) -> None:
    run = Run(rules(InFlightTarget(in_flight=16.0)), Pipelines())
    load = sine(middle * 16.0 * MAXIMUM / 2, swing, period_s, noise, seed)
    run.through(CYCLES * period_s, load)
    run.check_cool_downs()
    # Once up and once down a cycle is following the load; more would be flapping.
    assert run.turns() <= 2 * CYCLES
    assert len(run.changes) <= 2 * (MAXIMUM - 1) * CYCLES


@given(**{**LOADS, "period_s": st.sampled_from([5, 10])})
@settings(max_examples=5)
def test_a_wave_shorter_than_the_cool_down_changes_next_to_nothing(
    middle: float, swing: float, period_s: int, noise: float, seed: int
) -> None:
    load = sine(middle * 16.0 * MAXIMUM / 2, swing, period_s, noise, seed)
    run = Run(rules(InFlightTarget(in_flight=16.0)), Pipelines())
    run.through(CYCLES * period_s, load)
    assert run.turns() <= CYCLES / 10


@given(**LOADS, queue_ms=st.floats(2.0, 40.0))
@settings(max_examples=5)
def test_hosts_do_not_flap_under_a_sine(
    middle: float, swing: float, period_s: int, noise: float, seed: int, queue_ms: float
) -> None:
    run = Run(rules(QueueTarget(queue_ms=queue_ms, pending=8.0)), Hosts())
    load = sine(middle * CAPACITY * MAXIMUM / 2, swing, period_s, noise, seed)
    run.through(CYCLES * period_s, load)
    run.check_cool_downs()
    # A few more, while it is learnt how much overloads a host.
    assert run.turns() <= 2 * CYCLES + 12
    assert len(run.changes) <= 2 * (MAXIMUM - 1) * (CYCLES + 6)


@pytest.mark.parametrize("queue_ms", [3.0, 10.0, 30.0])
@pytest.mark.parametrize("load", [90.0, 290.0])
def test_under_a_steady_load_one_fewer_is_tried_ever_more_rarely(
    load: float, queue_ms: float
) -> None:
    run = Run(rules(QueueTarget(queue_ms=queue_ms, pending=8.0)), Hosts())
    run.through(1500, lambda _now: load)
    assert run.turns() <= 8
    early = run.turns()
    run.through(1500, lambda _now: load)
    assert run.turns() - early <= 2


def test_a_learnt_limit_does_not_hold_hosts_back_when_the_load_is_gone() -> None:
    run = Run(rules(QueueTarget(queue_ms=10.0, pending=8.0)), Hosts())
    run.through(300, lambda now: 450.0 if now < 120 else 2.0)
    assert max(decision.target for _, decision in run.changes) >= 5
    assert run.target == 1

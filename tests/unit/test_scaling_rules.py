"""One decision: bounds, what is unknown, cool-downs, and more load never meaning fewer replicas."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scaling.decide import (
    Action,
    Decision,
    Limit,
    Reason,
    Rules,
    State,
    decide,
)
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    QUEUE_MS,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)
from serving.scaling.rules import rules_of
from serving.scaling.signals import InFlightTarget, QueueTarget
from serving.settings import Settings

NOW_S = 1000.0
PIPELINE = Rules(
    minimum=1,
    maximum=8,
    target=InFlightTarget(in_flight=10.0),
    cool_down_up_s=5.0,
    cool_down_down_s=60.0,
    stale_after_s=10.0,
)
HOSTS = replace(PIPELINE, target=QueueTarget(queue_ms=10.0, pending=4.0))


def in_flight(*values: float, **changes: object) -> Observation:
    """A pipeline whose replicas have so many in flight."""
    return seen([{IN_FLIGHT: value} for value in values], **changes)


def hosts(
    count: int,
    *,
    queue_ms: float = 0.0,
    pending: float = 0.0,
    rows_per_s: float = 100.0,
    **changes: object,
) -> Observation:
    """Hosts that all report the same; `rows_per_s` is of each."""
    one = {
        QUEUE_MS: queue_ms,
        PENDING: pending,
        REQUESTS_PER_S: rows_per_s,
        ROWS_PER_S: rows_per_s,
    }
    return seen([one] * count, **changes)


def seen(values: list[dict[str, float]], **changes: object) -> Observation:
    observation = Observation(
        time_s=NOW_S,
        running=len(values),
        target=len(values),
        reports=tuple(
            ReplicaReport(replica=str(i), age_s=1.0, values=v) for i, v in enumerate(values)
        ),
    )
    return replace(observation, **changes)  # type: ignore[arg-type]


def aged(observation: Observation, *ages_s: float) -> Observation:
    reports = zip(observation.reports, ages_s, strict=True)
    return replace(observation, reports=tuple(replace(r, age_s=age) for r, age in reports))


def outcome(decision: Decision) -> tuple[Action, int, Reason]:
    return decision.action, decision.target, decision.reason


# ---- up ------------------------------------------------------------------------------------------


def test_pipelines_get_as_many_as_the_load_needs_at_once() -> None:
    decision, state = decide(PIPELINE, State(), in_flight(35.0, 20.0))
    assert outcome(decision) == (Action.UP, 6, Reason.LOAD)
    assert state.last_up_s == NOW_S
    assert "55.0 in flight, target 10 for each of 2" in decision.text
    assert decision.pressure == pytest.approx(2.75)


def test_what_waits_at_the_callers_is_load_too() -> None:
    decision, _ = decide(PIPELINE, State(), in_flight(9.0, queued=12.0))
    assert outcome(decision) == (Action.UP, 3, Reason.LOAD)


def test_nobody_grows_beyond_the_maximum() -> None:
    decision, state = decide(PIPELINE, State(), in_flight(500.0))
    assert decision.target == 8
    decision, _ = decide(PIPELINE, state, in_flight(*[500.0] * 8))
    assert outcome(decision) == (Action.HOLD, 8, Reason.AT_MAXIMUM)


def test_steps_up_keep_their_distance() -> None:
    _, state = decide(PIPELINE, State(), in_flight(15.0))
    decision, state = decide(PIPELINE, state, in_flight(30.0, 30.0, time_s=NOW_S + 4.0))
    assert outcome(decision) == (Action.HOLD, 2, Reason.COOL_DOWN_UP)
    decision, _ = decide(PIPELINE, state, in_flight(30.0, 30.0, time_s=NOW_S + 5.0))
    assert outcome(decision) == (Action.UP, 6, Reason.LOAD)


@pytest.mark.parametrize(
    ("queue_ms", "pending", "target"),
    [(10.1, 0.0, 5), (15.0, 0.0, 6), (400.0, 0.0, 8), (0.0, 4.4, 5), (0.0, 90.0, 8)],
)
def test_hosts_grow_by_the_worse_of_two_and_at_most_double(
    queue_ms: float, pending: float, target: int
) -> None:
    decision, _ = decide(HOSTS, State(), hosts(4, queue_ms=queue_ms, pending=pending))
    assert outcome(decision) == (Action.UP, target, Reason.LOAD)


def test_a_host_counts_by_its_requests() -> None:
    busy = {QUEUE_MS: 20.0, PENDING: 0.0, REQUESTS_PER_S: 10.0, ROWS_PER_S: 10.0}
    calm = {QUEUE_MS: 2.0, PENDING: 0.0, REQUESTS_PER_S: 90.0, ROWS_PER_S: 90.0}
    decision, _ = decide(HOSTS, State(), seen([busy, calm]))
    assert decision.reason is Reason.COOL_DOWN_DOWN
    assert decision.pressure == pytest.approx(0.38)


def test_hosts_wait_for_the_one_that_starts_before_another_is_added() -> None:
    seen_now = hosts(2, queue_ms=80.0, target=3)
    decision, state = decide(HOSTS, State(last_up_s=NOW_S - 100.0), seen_now)
    assert outcome(decision) == (Action.HOLD, 3, Reason.STARTING)
    # The cool-down counts from the moment when it began to help.
    later = hosts(3, queue_ms=80.0, time_s=NOW_S + 4.0)
    assert decide(HOSTS, state, later)[0].reason is Reason.COOL_DOWN_UP


def test_pipelines_do_not_wait_for_the_one_that_starts() -> None:
    decision, _ = decide(PIPELINE, State(), in_flight(60.0, target=2))
    assert outcome(decision) == (Action.UP, 6, Reason.LOAD)


# ---- down ----------------------------------------------------------------------------------------


def test_down_needs_room_throughout_the_cool_down_and_goes_one_at_a_time() -> None:
    state = State()
    targets, target = [], 4
    for second in range(200):
        calm = in_flight(*[1.0] * target, time_s=NOW_S + second)
        decision, state = decide(PIPELINE, state, calm)
        if decision.target != target:
            targets.append((second, decision.target))
            assert decision.reason is Reason.ROOM
        target = decision.target
    assert targets == [(60, 3), (121, 2), (182, 1)]


def test_one_busy_moment_starts_the_cool_down_anew() -> None:
    state = State()
    for second in range(59):
        _, state = decide(PIPELINE, state, in_flight(1.0, 1.0, time_s=NOW_S + second))
    # Fits two, but would not fit one with room to spare.
    decision, state = decide(PIPELINE, state, in_flight(5.0, 4.0, time_s=NOW_S + 59))
    assert outcome(decision) == (Action.HOLD, 2, Reason.STEADY)
    decision, _ = decide(PIPELINE, state, in_flight(1.0, 1.0, time_s=NOW_S + 61))
    assert outcome(decision) == (Action.HOLD, 2, Reason.COOL_DOWN_DOWN)


def test_nobody_shrinks_below_the_minimum() -> None:
    state = State(room_since_s=0.0)
    decision, _ = decide(PIPELINE, state, in_flight(0.0))
    assert outcome(decision) == (Action.HOLD, 1, Reason.AT_MINIMUM)


def test_room_while_somebody_starts_is_none() -> None:
    state = State(room_since_s=0.0)
    decision, state = decide(PIPELINE, state, in_flight(0.0, target=2))
    assert outcome(decision) == (Action.HOLD, 2, Reason.STARTING)
    assert state.room_since_s is None


def test_hosts_do_not_shrink_to_what_was_too_few() -> None:
    learnt = State(room_since_s=0.0, limit=Limit(rows_per_s=100.0, until_s=NOW_S + 1.0))
    calm = hosts(2, queue_ms=1.0, rows_per_s=40.0)
    assert decide(HOSTS, learnt, calm)[0].reason is Reason.STEADY
    fewer = hosts(2, queue_ms=1.0, rows_per_s=30.0)
    assert outcome(decide(HOSTS, learnt, fewer)[0]) == (Action.DOWN, 1, Reason.ROOM)
    # What was learnt is forgotten in time.
    later = replace(calm, time_s=NOW_S + 2.0)
    assert outcome(decide(HOSTS, learnt, later)[0]) == (Action.DOWN, 1, Reason.ROOM)


def test_a_host_that_stays_calm_beyond_the_limit_disproves_it() -> None:
    learnt = State(limit=Limit(rows_per_s=100.0, until_s=NOW_S + 1.0, confirmed=3))
    _, state = decide(HOSTS, learnt, hosts(2, queue_ms=1.0, rows_per_s=150.0))
    assert state.limit == Limit(rows_per_s=150.0, until_s=NOW_S + 1.0, confirmed=0)


# ---- what is not known ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "observation",
    [
        in_flight(0.0, 0.0, reports=()),
        in_flight(running=0, target=2),
        aged(in_flight(900.0, 900.0), 10.1, 60.0),
    ],
    ids=["no report", "nobody runs", "only stale reports"],
)
def test_without_fresh_metrics_nothing_changes(observation: Observation) -> None:
    state = State(room_since_s=0.0)
    decision, state = decide(PIPELINE, state, observation)
    assert outcome(decision) == (Action.HOLD, 2, Reason.NO_METRICS)
    assert decision.pressure is None
    assert state.room_since_s is None


def test_part_of_the_metrics_is_enough_to_grow_but_not_to_shrink() -> None:
    state = State(room_since_s=0.0)
    quiet = aged(in_flight(0.0, 50.0), 1.0, 30.0)
    assert outcome(decide(PIPELINE, state, quiet)[0]) == (Action.HOLD, 2, Reason.SOME_METRICS)
    busy = aged(in_flight(50.0, 0.0), 1.0, 30.0)
    assert outcome(decide(PIPELINE, state, busy)[0]) == (Action.UP, 5, Reason.LOAD)


# ---- whatever comes ------------------------------------------------------------------------------

REPORTS = st.lists(st.floats(0.0, 1e6), min_size=0, max_size=10)
STATES = st.builds(
    State,
    last_up_s=st.none() | st.floats(0.0, 2 * NOW_S),
    room_since_s=st.none() | st.floats(0.0, NOW_S),
    limit=st.none()
    | st.builds(Limit, rows_per_s=st.floats(0.1, 1e6), until_s=st.floats(0.0, 2 * NOW_S)),
)
LIMITS = st.tuples(st.integers(1, 10), st.integers(0, 10))


@given(
    values=REPORTS,
    target=st.integers(1, 20),
    bounds=LIMITS,
    state=STATES,
    of_hosts=st.booleans(),
    age_s=st.floats(0.0, 20.0),
)
def test_the_number_keeps_its_bounds_and_shrinks_by_one_at_most(
    values: list[float],
    target: int,
    bounds: tuple[int, int],
    state: State,
    of_hosts: bool,
    age_s: float,
) -> None:
    rules = replace(
        HOSTS if of_hosts else PIPELINE, minimum=bounds[0], maximum=bounds[0] + bounds[1]
    )
    reports = [
        {IN_FLIGHT: v, QUEUE_MS: v, PENDING: v, REQUESTS_PER_S: v, ROWS_PER_S: v} for v in values
    ]
    observation = seen(reports, target=target)
    observation = aged(observation, *[age_s] * len(values))
    decision, _ = decide(rules, state, observation)
    assert rules.minimum <= decision.target <= rules.maximum
    inside = rules.minimum <= target <= rules.maximum
    if inside:
        assert decision.target >= target - 1
        assert (decision.action is Action.HOLD) == (decision.target == target)
    else:
        assert decision.reason is Reason.BOUNDS


@given(
    load=st.floats(0.0, 200.0),
    more=st.floats(0.0, 200.0),
    count=st.integers(1, 8),
    state=STATES,
)
def test_more_in_flight_never_means_fewer_replicas(
    load: float, more: float, count: int, state: State
) -> None:
    little = decide(PIPELINE, state, in_flight(*[load / count] * count))[0].target
    much = decide(PIPELINE, state, in_flight(*[(load + more) / count] * count))[0].target
    assert much >= little


@given(
    queue_ms=st.floats(0.0, 100.0),
    pending=st.floats(0.0, 50.0),
    rows_per_s=st.floats(0.0, 1000.0),
    more=st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 50.0), st.floats(0.0, 1000.0)),
    count=st.integers(1, 8),
    state=STATES,
)
def test_more_queueing_never_means_fewer_hosts(
    queue_ms: float,
    pending: float,
    rows_per_s: float,
    more: tuple[float, float, float],
    count: int,
    state: State,
) -> None:
    calm = hosts(count, queue_ms=queue_ms, pending=pending, rows_per_s=1.0 + rows_per_s)
    busy = hosts(
        count,
        queue_ms=queue_ms + more[0],
        pending=pending + more[1],
        rows_per_s=1.0 + rows_per_s + more[2],
    )
    assert decide(HOSTS, state, busy)[0].target >= decide(HOSTS, state, calm)[0].target


# ---- settings ------------------------------------------------------------------------------------


def test_each_deployment_has_its_own_bounds() -> None:
    settings = Settings(
        deployments={  # type: ignore[arg-type]
            "agent": {"max_replicas": 3, "target_ongoing_requests": 7.0},
            "step": {"min_replicas": 2, "max_replicas": 4},
        },
        triton={"hosts": 2, "max_hosts": 5},  # type: ignore[arg-type]
        scaling={"target_queue_ms": 8.0, "target_pending": 3.0},  # type: ignore[arg-type]
    )
    agent = rules_of("Agent", "pipeline", settings)
    step = rules_of("Step-rank", "pipeline", settings)
    host = rules_of("ModelHost", "hosts", settings)
    assert [(r.minimum, r.maximum) for r in (agent, step, host)] == [(1, 3), (2, 4), (2, 5)]
    assert agent.target == InFlightTarget(in_flight=7.0)
    assert host.target == QueueTarget(queue_ms=8.0, pending=3.0)


def test_hosts_are_not_scaled_unless_a_maximum_is_given() -> None:
    triton = Settings(triton={"hosts": 3}).triton  # type: ignore[arg-type]
    assert (triton.hosts, triton.most_hosts) == (3, 3)
    with pytest.raises(ValueError, match=r"max_hosts \(1\) is below hosts \(2\)"):
        Settings(triton={"hosts": 2, "max_hosts": 1})  # type: ignore[arg-type]

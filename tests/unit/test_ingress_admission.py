"""Who is let in: bounds, priorities, and a limit that follows the latency."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import Overloaded
from serving.ingress.admission import Admission, Priority
from serving.settings import AdmissionSettings


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def admission(clock: Clock | None = None, **changes: float) -> Admission:
    values = {"max_in_flight": 40, "min_in_flight": 4, "window_ms": 100.0, **changes}
    return Admission(AdmissionSettings.model_validate(values), clock=clock or Clock())


def fill(door: Admission, priority: Priority) -> int:
    """Lets in as many as go in; returns how many."""
    count = 0
    while True:
        try:
            door.enter(priority)
        except Overloaded:
            return count
        count += 1


def test_the_more_important_still_find_room_where_browsers_do_not() -> None:
    door = admission()
    assert fill(door, Priority.BROWSE) == 32
    assert fill(door, Priority.TALK) == 4
    assert fill(door, Priority.BUY) == 4
    assert door.in_flight == 40
    with pytest.raises(Overloaded, match=r"40 requests are in flight.*lets in 32 of this kind"):
        door.enter(Priority.BROWSE)
    assert door.stats().refused == {"BROWSE": 2, "TALK": 1, "BUY": 1}


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(["in", "out"]), st.sampled_from(list(Priority)), st.floats(0, 3)),
        max_size=200,
    )
)
def test_at_no_moment_is_a_buyer_refused_where_a_browser_would_be_let_in(
    steps: list[tuple[str, Priority, float]],
) -> None:
    clock = Clock()
    door = admission(clock)
    for what, priority, ratio in steps:
        clock.now_s += 0.03
        if what == "out" and door.in_flight:
            door.leave(ratio * 100.0, 100.0)
        refused = []
        for one in Priority:
            try:
                door.enter(one)
            except Overloaded:
                refused.append(one)
            else:
                door._in_flight -= 1
        assert refused == [one for one in Priority if one in refused][: len(refused)]
        # Whoever is refused, everybody of lower priority is as well.
        assert refused in ([], [Priority.BROWSE], [Priority.BROWSE, Priority.TALK], list(Priority))
        if priority not in refused:
            door.enter(priority)
        assert 4 <= door.limit <= 40
        assert 0 <= door.in_flight <= 40


def settle(door: Admission, clock: Clock, served_per_s: int, windows: int) -> None:
    """A replica that serves so many a second, always full: Little's law gives the latency."""
    for _ in range(windows):
        fill(door, Priority.BUY)
        latency_ms = 1000.0 * door.in_flight / served_per_s
        for _ in range(min(door.in_flight, max(1, served_per_s // 10))):
            clock.now_s += 1.0 / served_per_s
            door.leave(latency_ms, 200.0)


@pytest.mark.parametrize(("served_per_s", "lowest", "highest"), [(100, 5, 14), (1000, 36, 40)])
def test_the_limit_settles_where_the_latency_meets_its_objective(
    served_per_s: float, lowest: int, highest: int
) -> None:
    clock = Clock()
    door = admission(clock)
    settle(door, clock, served_per_s, 200)
    # Half of 200 ms at 100 a second: ten in flight.
    assert lowest <= door.limit <= highest


def test_the_limit_comes_back_when_the_replica_is_fast_again() -> None:
    clock = Clock()
    door = admission(clock)
    settle(door, clock, 50, 100)
    assert door.limit < 10
    settle(door, clock, 2000, 2000)
    assert door.limit == 40


def test_a_limit_that_nobody_felt_does_not_move() -> None:
    clock = Clock()
    door = admission(clock)
    settle(door, clock, 50, 100)
    assert door.limit < 40
    while door.in_flight:
        door.leave(1.0, 200.0)
    clock.now_s += 1.0
    door.enter(Priority.BUY)
    door.leave(1.0, 200.0)
    low = door.limit
    for _ in range(50):
        door.enter(Priority.BROWSE)
        clock.now_s += 0.2
        door.leave(1.0, 200.0)
    assert door.limit == low


def test_the_limit_rises_as_well_when_the_edge_keeps_calls_out() -> None:
    clock = Clock()
    door = admission(clock)
    settle(door, clock, 50, 100)
    while door.in_flight:
        door.leave(1.0, 200.0)
    low = door.limit
    # The edge lets browsers take eight tenths of what it was told; nobody is refused here.
    for _ in range(50):
        inside = int(door.limit * 0.8)
        for _ in range(inside):
            door.enter(Priority.BROWSE)
        clock.now_s += 0.2
        for _ in range(inside):
            door.leave(1.0, 200.0)
    assert door.limit > low + 10


def test_the_limit_is_told_when_it_moves_and_now_and_then() -> None:
    clock = Clock()
    door = admission(clock)
    assert door.news() == 40
    assert door.news() is None
    settle(door, clock, 50, 5)
    assert door.news() == door.limit < 40
    assert door.news() is None
    clock.now_s += 0.9
    assert door.news() is None
    clock.now_s += 0.2
    assert door.news() == door.limit

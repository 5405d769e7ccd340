import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrivals import Spacing, arrival_times
from loadtest.dispatch import Dispatcher, Due
from loadtest.shapes import Shape, overload, soak, spike, steps


def drawn(
    shape: Shape, spacing: Spacing, *, share: float = 1.0, offset: float = 0.0, seed: int = 7
) -> list[float]:
    return list(
        arrival_times(
            shape.level,
            spacing=spacing,
            generator=np.random.default_rng(seed),
            share=share,
            offset=offset,
        )
    )


def test_constant_arrivals_are_even() -> None:
    times = drawn(soak(level=20, ramp_s=0, hold_s=3), "constant", offset=0.5)
    assert len(times) == 60
    assert np.diff(times) == pytest.approx(np.full(59, 0.05))


def test_processes_that_share_a_constant_rate_are_even_together() -> None:
    shape = soak(level=30, ramp_s=0, hold_s=2)
    parts = [drawn(shape, "constant", share=1 / 3, offset=i / 3) for i in range(3)]
    together = sorted(itertools.chain(*parts))
    assert np.diff(together) == pytest.approx(np.full(len(together) - 1, 1 / 30))


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    shape = soak(level=400, ramp_s=0, hold_s=50)
    times = drawn(shape, "poisson")
    # 20,000 expected; the standard deviation is 141.
    assert abs(len(times) - 20_000) < 600
    gaps = np.diff(times)
    # Exponential gaps: the deviation equals the mean.
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("spacing", ["constant", "poisson"])
def test_arrivals_follow_a_changing_rate(spacing: Spacing) -> None:
    shape = overload(saturation=200, half_s=10, peak_s=10, twice_s=10, recovery_s=10)
    times = np.array(drawn(shape, spacing))
    for phase in shape.phases:
        inside = np.count_nonzero((times >= phase.start_s) & (times < phase.end_s))
        assert inside == pytest.approx(10 * phase.from_level, rel=0.12)


def test_arrivals_of_a_ramp_grow_with_its_square() -> None:
    times = np.array(drawn(soak(level=100, ramp_s=10, hold_s=1), "constant"))
    assert np.count_nonzero(times < 5) == pytest.approx(125, abs=2)
    assert np.count_nonzero(times < 10) == pytest.approx(500, abs=2)


@given(
    level=st.floats(0.1, 300),
    factor=st.floats(1.01, 4),
    hold_s=st.floats(0.1, 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=30)
def test_arrivals_are_in_order_and_end_with_the_shape(
    level: float, factor: float, hold_s: float, seed: int
) -> None:
    shape = spike(level=level, factor=factor, before_s=hold_s, spike_s=hold_s, after_s=hold_s)
    times = drawn(shape, "poisson", seed=seed)
    assert times == sorted(times)
    assert all(0 <= t <= shape.duration_s + 0.01 for t in times)


@pytest.mark.parametrize(("share", "offset"), [(0.0, 0.0), (1.5, 0.0), (0.5, 1.0), (0.5, -0.1)])
def test_unusable_shares_are_refused(share: float, offset: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        drawn(soak(level=1, ramp_s=0, hold_s=1), "constant", share=share, offset=offset)


class Bench:
    """A clock that moves only by sleeping, and calls that end when they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.under_way: list[Callable[[], None]] = []
        self.sent: list[Due] = []
        self.dropped: list[Due] = []

    def dispatcher(self, max_in_flight: int, oversleep_s: float = 0.0) -> Dispatcher:
        def sleep(seconds: float) -> None:
            self.now_s += seconds + oversleep_s

        return Dispatcher(
            now_s=lambda: self.now_s,
            sleep_s=sleep,
            start=self.under_way.append,
            send=self.sent.append,
            drop=self.dropped.append,
            max_in_flight=max_in_flight,
        )


def test_arrivals_never_wait_for_replies() -> None:
    bench = Bench()
    dispatcher = bench.dispatcher(max_in_flight=1000)
    dispatcher.run(i / 10 for i in range(100))
    assert dispatcher.in_flight == 100, "not one reply has come"
    assert bench.now_s == pytest.approx(9.9)
    for call in bench.under_way:
        call()
    assert [due.scheduled_s for due in bench.sent] == [i / 10 for i in range(100)]
    assert dispatcher.in_flight == 0


def test_what_is_sent_late_knows_how_late() -> None:
    bench = Bench()
    dispatcher = bench.dispatcher(max_in_flight=10, oversleep_s=0.25)
    dispatcher.run([1.0, 1.1, 1.2])
    for call in bench.under_way:
        call()
    assert [due.scheduled_s for due in bench.sent] == [1.0, 1.1, 1.2]
    assert [due.lateness_s for due in bench.sent] == pytest.approx([0.25, 0.4, 0.55])


def test_beyond_the_bound_calls_are_dropped_and_counted() -> None:
    bench = Bench()
    dispatcher = bench.dispatcher(max_in_flight=3)
    dispatcher.run([0.0, 0.1, 0.2, 0.3, 0.4])
    assert [due.index for due in bench.dropped] == [3, 4]
    assert len(bench.under_way) == 3


def test_a_call_that_fails_gives_its_place_back() -> None:
    bench = Bench()

    def fail(due: Due) -> None:
        raise RuntimeError(due.index)

    dispatcher = Dispatcher(
        now_s=lambda: bench.now_s,
        sleep_s=lambda seconds: None,
        start=bench.under_way.append,
        send=fail,
        drop=bench.dropped.append,
        max_in_flight=1,
    )
    dispatcher.run([0.0])
    with pytest.raises(RuntimeError):
        bench.under_way[0]()
    assert dispatcher.in_flight == 0


def test_a_dispatcher_needs_a_place() -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        Bench().dispatcher(max_in_flight=0)


def test_steps_grow_geometrically() -> None:
    shape = steps(level=10, factor=2, count=4, hold_s=5)
    assert [phase.to_level for phase in shape.phases] == [10, 20, 40, 80]
    assert [shape.level(t) for t in (0, 4.99, 5, 19.9, 20)] == [10, 10, 20, 80, None]


def test_a_soak_rises_and_stays() -> None:
    shape = soak(level=30, ramp_s=10, hold_s=20)
    assert [shape.level(t) for t in (0, 5, 10, 29.9, 30)] == [0, 15, 30, 30, None]
    assert [phase.kind for phase in shape.phases] == ["settle", "normal"]


def test_a_spike_comes_and_goes_at_once() -> None:
    shape = spike(level=5, factor=10, before_s=4, spike_s=2, after_s=6)
    assert [shape.level(t) for t in (3.9, 4, 5.9, 6, 11.9, 12)] == [5, 50, 50, 5, 5, None]


def test_an_overload_is_half_whole_twice_and_half_of_saturation() -> None:
    shape = overload(saturation=100, half_s=1, peak_s=2, twice_s=3, recovery_s=4)
    assert [shape.level(t) for t in (0, 1, 3, 6, 9.9, 10)] == [50, 100, 200, 50, 50, None]
    assert [phase.kind for phase in shape.phases] == ["normal", "peak", "overload", "recovery"]
    found = shape.phase(4)
    assert found is not None
    assert found.name == "twice"
    assert shape.phase(10) is None


@given(
    durations=st.tuples(*[st.floats(0.1, 100)] * 4),
    saturation=st.floats(1, 10_000),
    at=st.floats(0, 1),
)
def test_phases_follow_each_other_without_gaps(
    durations: tuple[float, float, float, float], saturation: float, at: float
) -> None:
    half_s, peak_s, twice_s, recovery_s = durations
    shape = overload(
        saturation=saturation, half_s=half_s, peak_s=peak_s, twice_s=twice_s, recovery_s=recovery_s
    )
    for before, after in itertools.pairwise(shape.phases):
        assert before.end_s == after.start_s
    assert shape.duration_s == pytest.approx(sum(durations))
    assert shape.level(shape.duration_s) is None
    level = shape.level(at * shape.duration_s * 0.999)
    assert level in {saturation / 2, saturation, saturation * 2}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: soak(level=0, ramp_s=1, hold_s=1), "level"),
        (lambda: soak(level=1, ramp_s=-1, hold_s=1), "ramp_s"),
        (lambda: steps(level=1, factor=1, count=2, hold_s=1), "factor"),
        (lambda: steps(level=1, factor=2, count=0, hold_s=1), "count"),
        (lambda: spike(level=1, factor=0.5, before_s=1, spike_s=1, after_s=1), "factor"),
        (lambda: soak(level=float("nan"), ramp_s=1, hold_s=1), "level"),
        (
            lambda: overload(saturation=0, half_s=1, peak_s=1, twice_s=1, recovery_s=1),
            "saturation",
        ),
    ],
)
def test_unusable_shapes_name_the_value(make: Callable[[], Shape], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        make()

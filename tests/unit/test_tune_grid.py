"""The points of a sweep."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.specs import SPECS
from model_build.tune.grid import Axes, default_axes, fitting, lanes_for, simplicity
from model_build.tune.requests import usual_rows

CORES = st.integers(1, 128)


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axes, int]:
    cores = draw(CORES)
    spec = draw(st.sampled_from(list(SPECS.values())))
    rows = draw(st.integers(1, spec.max_batch_size))
    return default_axes(cores, rows, draw(st.integers(1, 512)), spec.max_batch_size), cores


@settings(max_examples=40)
@given(CORES)
def test_lanes_suit_the_machine(cores: int) -> None:
    lanes = lanes_for(cores)
    assert len(set(lanes)) == len(lanes)
    assert {(1, 1), (cores, 1), (1, cores)} <= set(lanes)
    assert all(i * t <= max(cores, 4) and t <= cores for i, t in lanes)


def test_the_lanes_of_two_cores() -> None:
    assert set(lanes_for(2)) == {(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)}


@settings(max_examples=40)
@given(axes())
def test_points_are_all_different_and_the_simplest_comes_first(drawn: tuple[Axes, int]) -> None:
    points = drawn[0].points()
    assert len(set(points)) == len(points)
    assert list(points) == sorted(points, key=simplicity)
    assert points[0].instances == points[0].intra_op_threads == 1
    # One row fills a batch of one: waiting for more would do nothing.
    assert all(p.max_queue_delay_microseconds == 0 for p in points if p.max_batch_rows == 1)


@settings(max_examples=40)
@given(axes(), st.integers(0, 500))
def test_a_sweep_is_thinned_until_it_fits(drawn: tuple[Axes, int], most: int) -> None:
    full, cores = drawn
    fitted = fitting(full, cores, most)
    if fitted is None:
        assert len(fitting(full, cores, 10_000).points()) > most  # type: ignore[union-attr]
        return
    assert len(fitted.points()) <= most
    assert set(fitted.lanes) <= set(full.lanes)
    # What is left still spans what was asked for.
    assert (1, 1) in fitted.lanes
    assert {fitted.batch_rows[0], fitted.batch_rows[-1]} == {
        full.batch_rows[0],
        full.batch_rows[-1],
    }
    if len(full.points()) <= most:
        assert fitted == full


def test_batches_that_cannot_form_are_not_tried() -> None:
    # Four in flight of one row each never fill a batch of 8; of those, one limit is enough.
    assert default_axes(2, 1, 4, 32).batch_rows == (1, 8)
    assert default_axes(2, 1, 64, 32).batch_rows == (1, 8, 32)
    # A request of 200 rows fills a batch of 256 alone.
    assert default_axes(2, 200, 8, 256).batch_rows == (200, 256)


@pytest.mark.parametrize(("model", "rows"), [("understanding", 1), ("ranker", 200)])
def test_requests_bring_as_many_rows_as_the_pipelines_do(model: str, rows: int) -> None:
    assert usual_rows(SPECS[model]) == rows

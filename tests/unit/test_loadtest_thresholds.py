import dataclasses
import json
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest
import yaml

from loadtest import outcomes
from loadtest.outcomes import Outcome
from loadtest.plan import OPTIONS, Plan, PlanUnusable, read_plan
from loadtest.record import Record
from loadtest.results import Conclusion, Run, conclude
from loadtest.thresholds import Thresholds, ThresholdsUnusable, load_thresholds

FOLDER = Path(__file__).parents[2] / "loadtest"


def plan(**values: object) -> Plan:
    defaults = {option.name: option.default for option in OPTIONS}
    return read_plan({**defaults, **values})


SOAK = plan(model="arrivals", shape="soak", level=50.0, ramp_s=0.0, hold_s=4.0)
OVERLOAD = plan(model="arrivals", shape="overload", saturation_rps=50.0, hold_s=4.0)


def recorded(run: Plan, *, refused_share: float = 0.0, service_ms: float = 20.0) -> Record:
    record = Record(run.slot_s)
    assert run.shape is not None
    for i, at_s in enumerate(np.arange(0, run.shape.duration_s, 0.02)):
        refused = int((i + 1) * refused_share) > int(i * refused_share)
        record.add(
            Outcome(
                method="ConverseStream" if i % 2 else "Answer",
                name=outcomes.REFUSED if refused else outcomes.OK,
                scheduled_s=float(at_s),
                service_ms=2.0 if refused else service_ms,
                first_event_ms=None if refused else service_ms / 2,
                server_steps=() if refused else (("total", service_ms), ("encode", 3.0)),
                retry_after_ms=250.0 if refused else None,
            )
        )
    return record


def held(run: Plan, record: Record, **limits: object) -> Conclusion:
    made = Run(plan=run, address="127.0.0.1:1", began_at=0.0, record=record)
    return conclude(made, Thresholds.model_validate(limits))


def failures(conclusion: Conclusion) -> list[str]:
    return [line for line in conclusion.lines() if line.startswith("FAIL")]


def test_kept_thresholds_exit_with_0() -> None:
    conclusion = held(
        SOAK,
        recorded(SOAK),
        calls_at_least=100,
        latency={"Answer": {"p50_ms": 25, "p99_ms": 25}},
        first_event={"p99_ms": 12},
        errors={"any": 0.0, "RESOURCE_EXHAUSTED": 0.0},
        degraded_share=0.0,
        goodput_per_s_at_least=45,
        generator={"saturated_share": 0.0, "lateness_p99_ms": 1},
    )
    assert failures(conclusion) == []
    assert conclusion.exit_code == 0
    assert conclusion.lines()[-1] == "passed"


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        # Percentiles are exact to 1 %.
        ({"latency": {"Answer": {"p99_ms": 15}}}, "latency.Answer.p99_ms: 19.87, at most 15"),
        ({"latency": {"Answer": {"p50_ms": 15}}}, "latency.Answer.p50_ms: 19.87, at most 15"),
        ({"first_event": {"p50_ms": 5}}, "first_event.p50_ms: 9.935, at most 5"),
        ({"errors": {"any": 0.1}}, "errors.any: 0.2, at most 0.1"),
        ({"errors": {"RESOURCE_EXHAUSTED": 0}}, "errors.RESOURCE_EXHAUSTED: 0.2, at most 0"),
        ({"goodput_per_s_at_least": 60}, "goodput_per_s_at_least: 40, at least 60"),
        ({"calls_at_least": 1000}, "calls_at_least: 200, at least 1000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_missed_threshold_is_named_with_value_and_limit(
    limits: dict[str, object], says: str
) -> None:
    conclusion = held(SOAK, recorded(SOAK, refused_share=0.2), **limits)
    assert failures(conclusion) == [f"FAIL {says}"]
    assert conclusion.exit_code == 1


def test_an_overload_is_held_against_its_own_limits() -> None:
    record = recorded(OVERLOAD, refused_share=0.2, service_ms=90.0)
    conclusion = held(
        OVERLOAD,
        record,
        overload={
            "goodput_share_at_least": 0.99,
            "admitted_p99_ms": 80,
            "refused_p99_ms": 1,
            "retry_after_share_at_least": 1.0,
            "other_errors_share": 0.0,
        },
        recovery_s=2,
    )
    assert [line.split(":")[0] for line in failures(conclusion)] == [
        "FAIL overload.goodput_share_at_least",
        "FAIL overload.admitted_p99_ms",
        "FAIL overload.refused_p99_ms",
    ]


def test_no_recovery_misses_its_threshold() -> None:
    record = recorded(OVERLOAD)
    assert OVERLOAD.shape is not None
    for at_s in np.arange(12, OVERLOAD.shape.duration_s, 0.01):
        record.add(Outcome(method="Answer", name="UNAVAILABLE", scheduled_s=float(at_s)))
    assert failures(held(OVERLOAD, record, recovery_s=2)) == [
        "FAIL recovery_s: not back to normal before the run ended, at most 2"
    ]


def test_what_was_not_called_is_skipped_but_a_run_without_calls_fails() -> None:
    limits = {"latency": {"Decide": {"p99_ms": 5}}, "recovery_s": 2, "knee_at_least": 5}
    lines = held(SOAK, recorded(SOAK), **limits).lines()
    assert "skip latency.Decide.p99_ms: not measured, at most 5" in lines
    empty = held(SOAK, Record(SOAK.slot_s), **limits)
    assert failures(empty) == ["FAIL calls_at_least: 0, at least 1"]


def test_a_defect_of_a_user_fails_the_run() -> None:
    run = Run(plan=SOAK, address="", began_at=0.0, record=recorded(SOAK), defects=["'x' is None"])
    conclusion = conclude(run, None)
    assert conclusion.exit_code == 1
    assert failures(conclusion) == ["FAIL a user raised: 'x' is None"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("latency: {Convers: {p99_ms: 5}}", "latency.Convers"),
        ("latency: {Converse: {p98_ms: 5}}", "latency.Converse.p98_ms: there is no such threshold"),
        ("latency: {Converse: {p99_ms: 0}}", "latency.Converse.p99_ms"),
        ("errors: {TEAPOT: 0.1}", "errors.TEAPOT"),
        ("errors: {any: 1.5}", "errors.any"),
        ("degraded_share: much", "degraded_share"),
        ("overlod: {}", "overlod: there is no such threshold"),
        ("overload: {goodput_share_at_least: -1}", "overload.goodput_share_at_least"),
        ("recovery_s: -1", "recovery_s"),
        ("- 1", "mapping"),
        ("a: [", "cannot be read"),
        ("1: 2", "must be words"),
    ],
)
def test_an_unusable_file_names_the_field(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(ThresholdsUnusable, match=names) as refused:
        load_thresholds(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsUnusable, match=r"nowhere.yaml: cannot be read"):
        load_thresholds(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["thresholds.yaml", "thresholds-overload.yaml"])
def test_the_files_of_the_project_can_be_used(name: str) -> None:
    values = yaml.safe_load((FOLDER / name).read_text())
    assert set(values) <= set(Thresholds.model_fields)
    load_thresholds(FOLDER / name)


def test_the_page_needs_nothing_but_itself_and_escapes(tmp_path: Path) -> None:
    record = recorded(OVERLOAD, refused_share=0.3)
    run = Run(plan=OVERLOAD, address="<script>", began_at=0.0, record=record)
    limits = Thresholds.model_validate({"errors": {"any": 0.0}})
    conclusion = conclude(run, limits)
    conclusion.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page
    assert "$" not in page
    charts = page.split("<svg")[1:]
    assert len(charts) == 9
    for chart in charts:
        xml.dom.minidom.parseString("<svg" + chart.split("</svg>")[0] + "</svg>")
    for words in ("errors.any", "RESOURCE_EXHAUSTED", "encode", "Overload", "with retry-after"):
        assert words in page


def test_figures_are_written_as_json_and_csv(tmp_path: Path) -> None:
    conclusion = held(SOAK, recorded(SOAK, refused_share=0.2), errors={"any": 0.1})
    conclusion.write(tmp_path / "a" / "b")
    document = json.loads((tmp_path / "a" / "b" / "summary.json").read_text())
    assert document["exit_code"] == 1
    assert document["thresholds"][1] == {
        "name": "errors.any",
        "limit": 0.1,
        "value": 0.2,
        "passed": False,
    }
    assert document["total"]["outcomes"] == {"OK": 120, "RESOURCE_EXHAUSTED": 30}
    timeline = (tmp_path / "a" / "b" / "timeline.csv").read_text().splitlines()
    assert timeline[0].endswith(
        "RESOURCE_EXHAUSTED_per_s,server_total_mean_ms,server_encode_mean_ms"
    )
    assert len(timeline) == 9
    assert (tmp_path / "a" / "b" / "methods.csv").read_text().startswith("method,outcome,calls")


def test_an_empty_run_has_a_page() -> None:
    assert "nothing was measured" in held(SOAK, Record(SOAK.slot_s)).page()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"model": "arrivals"}, "--shape"),
        ({"shape": "overload", "saturation_rps": 5.0}, "--model arrivals"),
        ({"model": "arrivals", "shape": "overload"}, "saturation"),
        ({"shape": "steps", "factor": 1.0}, "factor"),
        ({"shape": "soak", "level": 0.0}, "level"),
        ({"mix": "Nothing=1"}, "Nothing"),
        ({"call_deadline_ms": 0.0}, "--call-deadline-ms"),
        ({"max_in_flight": 0}, "--max-in-flight"),
        ({"think_scale": -1.0}, "--think-scale"),
    ],
)
def test_an_unusable_plan_names_the_option(values: dict[str, object], names: str) -> None:
    with pytest.raises(PlanUnusable, match=names):
        plan(**values)


def test_every_shape_of_the_command_line_can_be_planned() -> None:
    for shape, duration_s in (("soak", 35), ("steps", 240), ("spike", 90), ("overload", 120)):
        made = plan(model="arrivals", shape=shape, saturation_rps=10.0)
        assert made.shape is not None
        assert made.shape.duration_s == pytest.approx(duration_s)
    assert plan().shape is None
    assert dataclasses.replace(plan(), deadline_ms=500.0).drain_s == 1.5

"""The adapter for Ray Serve's controller, the log it writes, and the replay of that log."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from serving.errors import StartupError
from serving.scaling.decide import Action, Decision, Reason
from serving.scaling.log import DecisionLog
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    QUEUE_MS,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)
from serving.scaling.ray_policy import WatchedScaling, mean_of, reports_from
from serving.scaling.replay import with_target
from serving.scaling.trace import VALUES, Entry, Kind, read_entries, write_entry
from serving.settings import DeploymentSettings, ScalingSettings, TritonSettings
from tests.fakes.scaling import two_minutes


@dataclass(frozen=True)
class Replica:
    unique_id: str


@dataclass(frozen=True)
class Point:
    timestamp: float
    value: float


@dataclass
class Context:
    """What the policy reads of Ray Serve's context."""

    target_num_replicas: int = 1
    running_replicas: Sequence[Replica] = (Replica("r0"),)
    raw_metrics: Mapping[str, Mapping[Replica, Sequence[Point]]] = field(default_factory=dict)
    total_num_requests: float = 0.0
    total_queued_requests: float | None = None
    current_time: float = field(default_factory=time.time)

    @property
    def current_num_replicas(self) -> int:
        return len(self.running_replicas)


def policy(folder: Path, *, kind: Kind = "pipeline", **changes: Any) -> Any:
    """A policy with bounds 1 to 4, made as Ray Serve makes it: from JSON."""
    scaling = ScalingSettings(**{"log_folder": folder, "period_s": 0.1, **changes})
    limits: DeploymentSettings | TritonSettings = (
        TritonSettings(max_hosts=4)
        if kind == "hosts"
        else DeploymentSettings(max_replicas=4, target_ongoing_requests=10.0)
    )
    document = {
        "deployment": "Agent",
        "kind": kind,
        "limits": limits.model_dump(mode="json"),
        "scaling": scaling.model_dump(mode="json"),
    }
    return WatchedScaling(**json.loads(json.dumps(document)))


def reported(*in_flight: float) -> dict[str, dict[Replica, list[Point]]]:
    now_s = time.time()
    return {
        IN_FLIGHT: {
            Replica(f"r{i}"): [Point(now_s - 0.5, value), Point(now_s, value)]
            for i, value in enumerate(in_flight)
        }
    }


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "Agent.jsonl").read_text().splitlines()]


# ---- policy --------------------------------------------------------------------------------------


def test_it_decides_once_a_period_and_says_what_from(tmp_path: Path) -> None:
    decide = policy(tmp_path, period_s=60.0)
    context = Context(raw_metrics=reported(25.0))
    assert decide(context) == (3, {})
    # Ray asks more often.
    context.raw_metrics = reported(0.0)
    context.target_num_replicas = 3
    assert decide(context) == (3, {})
    (line,) = lines(tmp_path)
    assert line["decision"]["action"] == "up"
    assert line["decision"]["reason"] == "load"
    assert line["replicas"]["r0"]["in_flight"] == 25.0
    assert not line["decision"]["dry_run"]


def test_a_dry_run_only_tells(tmp_path: Path) -> None:
    decide = policy(tmp_path, dry_run=True)
    assert decide(Context(raw_metrics=reported(25.0))) == (1, {})
    (line,) = lines(tmp_path)
    assert (line["decision"]["target"], line["decision"]["dry_run"]) == (3, True)


def test_what_waits_at_the_handles_is_added(tmp_path: Path) -> None:
    context = Context(raw_metrics=reported(5.0), total_queued_requests=30.0)
    assert policy(tmp_path)(context) == (4, {})


def test_replicas_that_report_nothing_hold_the_number(tmp_path: Path) -> None:
    replicas = (Replica("r0"), Replica("r1"))
    # Ray Serve's own total is not looked at: it is zero for replicas that it knows nothing of.
    context = Context(target_num_replicas=2, running_replicas=replicas, total_num_requests=33.0)
    assert policy(tmp_path)(context) == (2, {})
    assert lines(tmp_path)[0]["decision"]["reason"] == "no metrics"


def test_reports_that_stopped_coming_hold_the_number(tmp_path: Path) -> None:
    old = reported(90.0)
    context = Context(raw_metrics=old, current_time=time.time() + 60.0)
    assert policy(tmp_path)(context) == (1, {})
    assert lines(tmp_path)[0]["decision"]["reason"] == "no metrics"


def test_an_error_inside_never_reaches_the_controller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context(target_num_replicas=2, raw_metrics={IN_FLIGHT: None})  # type: ignore[dict-item]
    assert policy(tmp_path)(context) == (2, {})
    assert "nothing was decided" in caplog.text


def test_a_host_without_one_of_its_values_has_no_report() -> None:
    now_s = 1000.0
    replica, other = Replica("a"), Replica("b")
    metrics: dict[str, dict[Replica, list[Point]]] = {
        name: {replica: [Point(now_s - 2.0, 1.0)]} for name in VALUES["hosts"]
    }
    metrics[QUEUE_MS][other] = [Point(now_s, 5.0)]
    (report,) = reports_from(metrics, "hosts", now_s)
    assert (report.replica, report.age_s) == ("a", 2.0)


def test_queue_time_is_averaged_over_requests_and_waiting_ones_over_time() -> None:
    idle = {QUEUE_MS: 0.0, PENDING: 0.0, REQUESTS_PER_S: 0.0, ROWS_PER_S: 0.0}
    busy = {QUEUE_MS: 40.0, PENDING: 8.0, REQUESTS_PER_S: 100.0, ROWS_PER_S: 150.0}
    assert mean_of([idle, busy]) == {
        QUEUE_MS: 40.0,
        PENDING: 4.0,
        REQUESTS_PER_S: 100.0,
        ROWS_PER_S: 150.0,
    }
    assert mean_of([idle, idle]) == idle


# ---- log -----------------------------------------------------------------------------------------

SEEN = Observation(
    time_s=0.0,
    running=1,
    target=1,
    queued=1.5,
    reports=(ReplicaReport(replica="r0", age_s=0.25, values={IN_FLIGHT: 3.5}),),
)
HOLD = Decision(action=Action.HOLD, target=1, reason=Reason.STEADY, text="fine", pressure=0.35)
UP = Decision(action=Action.UP, target=2, reason=Reason.LOAD, text="much", pressure=3.0)


def decision_log(folder: Path, **changes: Any) -> DecisionLog:
    values = {"max_bytes": 100_000, "hold_period_s": 10.0, "dry_run": False, **changes}
    return DecisionLog("Agent", "pipeline", folder, **values)


def test_changes_are_logged_at_once_and_holds_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = decision_log(tmp_path)
    with caplog.at_level(logging.INFO, logger="serving.scaling"):
        for second in range(25):
            decision = UP if second == 4 else HOLD
            log.note(decision, replace(SEEN, time_s=float(second)), 1e9 + second)
    assert [(line["time"] - 1e9, line["decision"]["action"]) for line in lines(tmp_path)] == [
        (0, "hold"),
        (4, "up"),
        (5, "hold"),
        (15, "hold"),
    ]
    # The process's own log gets what changes something.
    assert len(caplog.messages) == 1


def test_the_files_stay_bounded(tmp_path: Path) -> None:
    log = decision_log(tmp_path, max_bytes=10_000, hold_period_s=0.0)
    for second in range(200):
        log.note(HOLD, replace(SEEN, time_s=float(second)), 1e9 + second)
    older = tmp_path / "Agent.jsonl.1"
    assert {path.name for path in tmp_path.iterdir()} == {"Agent.jsonl", "Agent.jsonl.1"}
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())
    times = [json.loads(line)["time"] for line in older.read_text().splitlines()]
    times += [line["time"] for line in lines(tmp_path)]
    assert times == sorted(times)
    assert times[-1] == 1e9 + 199


def test_a_folder_that_cannot_be_written_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    log = decision_log(tmp_path / "file", hold_period_s=0.0)
    for second in range(3):
        log.note(HOLD, replace(SEEN, time_s=float(second)), 1e9)
    assert caplog.text.count("scaling.log_folder: ") == 1


def test_what_is_logged_is_read_back() -> None:
    line = write_entry("Agent", "pipeline", 1e9, SEEN, UP, dry_run=True)
    (entry,) = read_entries([line, "", "  "], "trace")
    assert entry == Entry(deployment="Agent", kind="pipeline", seen=replace(SEEN, time_s=1e9))


GOOD: dict[str, Any] = json.loads(write_entry("Agent", "pipeline", 1e9, SEEN, UP, dry_run=False))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "gpu"}, "kind: must be one of"),
        ({"deployment": ""}, "deployment: must be a name"),
        ({"running": 1.5}, "running: must be a whole number"),
        ({"target": -1}, "target: must be finite and not negative"),
        ({"time": "now"}, "time: must be a number, got 'now'"),
        ({"replicas": []}, "replicas: must be an object"),
        ({"replicas": {"r": 1}}, "replicas.r: must be an object"),
        ({"replicas": {"r": {"age_s": 1}}}, "replicas.r: in_flight: must be a number, got None"),
        ({"kind": "hosts"}, "replicas.r0: queue_ms: must be a number"),
    ],
)
def test_a_line_that_is_no_entry_is_refused_by_number_and_field(
    change: dict[str, Any], reason: str
) -> None:
    text = [json.dumps(GOOD), json.dumps({**GOOD, **change})]
    with pytest.raises(StartupError) as caught:
        list(read_entries(text, "trace.jsonl"))
    assert caught.value.message.startswith("trace.jsonl, line 2: ")
    assert reason in caught.value.message


@pytest.mark.parametrize(("text", "reason"), [("{", "no JSON"), ("[1]", "must be an object")])
def test_a_line_that_is_no_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(StartupError, match=reason):
        list(read_entries([text], "trace"))


# ---- replay --------------------------------------------------------------------------------------


def test_a_load_is_spread_over_the_replays_own_number() -> None:
    values = {QUEUE_MS: 20.0, PENDING: 6.0, REQUESTS_PER_S: 50.0, ROWS_PER_S: 100.0}
    report = ReplicaReport(replica="a", age_s=1.0, values=values)
    seen = Observation(
        time_s=0.0, running=2, target=2, reports=(report, replace(report, replica="b"))
    )
    assert with_target(seen, 2) is seen
    other = with_target(seen, 4)
    assert (other.running, other.target, len(other.reports)) == (4, 4, 4)
    assert other.reports[0].values == {
        QUEUE_MS: 20.0,
        PENDING: 3.0,
        REQUESTS_PER_S: 25.0,
        ROWS_PER_S: 50.0,
    }


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return two_minutes(tmp_path)


def run(trace: Path, *arguments: str, cool_down_s: str = "20") -> Result:
    config = trace.with_suffix(".yaml")
    config.write_text(
        "deployments: {agent: {max_replicas: 4, target_ongoing_requests: 10}}\n"
        f"scaling: {{cool_down_down_s: {cool_down_s}}}\n"
    )
    return CliRunner().invoke(
        cartwright, ["autoscale", "replay", str(trace), "--config", str(config), *arguments]
    )


def test_a_replay_tells_what_present_settings_would_have_done(trace: Path) -> None:
    result = run(trace, "--json")
    assert result.exit_code == 0, result.stderr
    moments = json.loads(result.stdout)["moments"]
    assert len(moments) == 120
    changes = [(m["time"] - 1e9, m["to"]) for m in moments if m["action"] != "hold"]
    assert changes == [(20, 3), (70, 2), (91, 1)]
    assert {m["recorded"] for m in moments} == {1}
    longer = json.loads(run(trace, "--json", cool_down_s="100").stdout)["moments"]
    assert [m["to"] for m in longer if m["action"] != "hold"] == [3]


def test_a_replay_is_printed(trace: Path) -> None:
    result = run(trace)
    assert result.exit_code == 0, result.stderr
    assert "120 moments, 3 changes" in result.stdout
    assert "25.0 in flight, target 10 for each of 1" in " ".join(result.stdout.split())


def test_a_trace_without_the_deployment_is_refused(trace: Path) -> None:
    result = run(trace, "--deployment", "ModelHost")
    assert result.exit_code == StartupError.exit_code
    assert "there is no entry of ModelHost (there are ['Agent'])" in result.stderr
    missing = CliRunner().invoke(cartwright, ["autoscale", "replay", str(trace) + "x"])
    assert missing.exit_code == StartupError.exit_code
    assert "cannot be read" in missing.stderr

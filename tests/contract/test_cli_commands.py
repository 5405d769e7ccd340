"""The command line against a real gRPC server: what it prints, its exit codes."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from serving.cli.run_file import RunFile, write_run_file
from serving.protos import commerce_pb2 as pb
from tests.scripted_agent import TRACE_ID, RunningAgent, ScriptedAgent, fails

NOWHERE = "127.0.0.1:1"
# Where the settings look for it, below the working folder.
RUN_FILE = Path("var/run/serve.json")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def running(agent: ScriptedAgent) -> Iterator[RunningAgent]:
    with RunningAgent(agent) as running:
        yield running


def call(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    result = CliRunner(env=environment).invoke(cartwright, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def call_json(*arguments: str) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# ---- ask --------------------------------------------------------------------------------------


def test_ask_prints_the_answer_and_what_stands_behind_it(running: RunningAgent) -> None:
    result = call("--address", running.address, "ask", "where is my order 12345?")
    assert result.exit_code == 0
    assert result.stdout.startswith("Order 12345 is on its way.\n")
    for part in (
        "Blue mug [large]",
        "12.99 EUR",
        "because of your last visit",
        "answer 0.91, purchase propensity 0.12 (answer_known +2.50, negative_probability -0.25)",
        "track_order 0.97, neutral 0.80, out of scope 0.02, order_number=12345",
        "Where is my order? (a7, 0.83)",
        "retrieve -> words: model encoder is not ready on any host",
        "11.8 ms: understand 6.2, decide 1.5",
        "understanding/3",
        TRACE_ID,
        "s1, turn 2",
    ):
        assert part in result.stdout, part
    assert result.stderr == ""


def test_ask_sends_what_it_was_given(running: RunningAgent, agent: ScriptedAgent) -> None:
    call("--address", running.address, "ask", "hi", "--session", "s9", "--customer", "c9")
    call("ask", "hi", "--address", running.address, "--top-k", "4", "--deadline-ms", "900")
    first, second = (call.request for call in agent.calls)
    assert (first.text, first.session_id, first.customer_id) == ("hi", "s9", "c9")
    # A new session each time.
    assert second.session_id.startswith("cli-")
    assert second.top_k == 4
    announced = [float(value or "nan") for value in agent.metadata("cartwright-deadline-ms")]
    assert 4000 < announced[0] <= 5000
    assert 100 < announced[1] <= 900


def test_ask_prints_one_json_document(running: RunningAgent) -> None:
    document = call_json("ask", "hi", "--address", running.address)
    assert set(document) == {"reply"}
    reply = document["reply"]
    assert reply["text"] == "Order 12345 is on its way."
    assert reply["items"][0]["price_cents"] == 1299
    assert reply["decision"]["action"] == "ACTION_ANSWER"
    assert reply["meta"]["model_versions"] == [{"model": "understanding", "version": 3, "arm": ""}]
    assert reply["requested_slot"] == ""


def test_streamed_words_are_printed_once(running: RunningAgent) -> None:
    result = call("ask", "hi", "--stream", "--address", running.address)
    assert result.exit_code == 0
    assert result.stdout.startswith("Order 12345 is on its way.\n")
    assert result.stdout.count("is on its way") == 1
    assert "track_order 0.97" in result.stdout


def test_streamed_events_are_listed_in_json(running: RunningAgent) -> None:
    document = call_json("ask", "hi", "--stream", "--address", running.address)
    assert [event["event"] for event in document["events"]] == [
        "understanding",
        "sources",
        "decision",
        "text_piece",
        "text_piece",
        "done",
    ]
    times = [event["after_ms"] for event in document["events"]]
    assert times == sorted(times)
    assert document["reply"]["turn"] == 2


def test_stream_without_its_last_event_is_an_error(
    running: RunningAgent, agent: ScriptedAgent
) -> None:
    agent.replies["ConverseStream"] = agent.replies["ConverseStream"][:3]
    result = call("ask", "hi", "--stream", "--address", running.address)
    assert result.exit_code == 1
    assert "the stream ended after 3 events, without its last one" in result.stderr


# ---- recommend and models -----------------------------------------------------------------------


def test_recommend_prints_a_table(running: RunningAgent, agent: ScriptedAgent) -> None:
    result = call(
        "recommend", "--customer", "c1", "--top-k", "3", "--category", "home",
        "--address", running.address,
    )  # fmt: skip
    assert result.exit_code == 0
    assert "p0042" in result.stdout
    assert "home/kitchen/mugs" in result.stdout
    request = agent.calls[0].request
    assert (request.customer_id, request.top_k, request.category) == ("c1", 3, "home")


def test_recommend_prints_json(running: RunningAgent) -> None:
    document = call_json("--address", running.address, "recommend", "--customer", "c1")
    assert document["items"][0]["product_id"] == "p0042"
    assert document["meta"]["trace_id"] == TRACE_ID


@pytest.mark.parametrize(("option", "rating"), [("--helpful", 1), ("--not-helpful", 2)])
def test_feedback_is_sent(
    running: RunningAgent, agent: ScriptedAgent, option: str, rating: int
) -> None:
    result = call(
        "feedback", TRACE_ID, option, "--comment", "as I said", "--address", running.address
    )
    assert (result.exit_code, result.stdout) == (0, "recorded\n")
    (sent,) = agent.calls[0].request.feedback
    assert (sent.trace_id, sent.rating, sent.comment) == (TRACE_ID, rating, "as I said")


def test_feedback_says_what_it_cannot_count(running: RunningAgent, agent: ScriptedAgent) -> None:
    agent.replies["RecordFeedback"] = pb.RecordFeedbackReply(unknown_trace_ids=[TRACE_ID])
    arguments = ("feedback", TRACE_ID, "--helpful", "--address", running.address)
    result = call(*arguments)
    assert "a newer rating" in result.stdout
    assert f"no answer of a model to {TRACE_ID}" in result.stdout
    assert call_json(*arguments)["unknown_trace_ids"] == [TRACE_ID]


def test_feedback_without_a_rating_is_refused(running: RunningAgent, agent: ScriptedAgent) -> None:
    result = call("feedback", TRACE_ID, "--address", running.address)
    assert result.exit_code == 2
    assert "--helpful" in result.stderr
    assert agent.calls == []


def test_models_are_listed(running: RunningAgent) -> None:
    result = call("models", "list", "--address", running.address)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    understanding = next(line for line in lines if line.startswith("understanding"))
    assert understanding.split() == [
        "understanding", "3", "ready", "host-0", "onnx-int8", "abababababab",
        "2026-09-21", "14:13", "UTC",
    ]  # fmt: skip
    encoder = next(line for line in lines if line.startswith("encoder"))
    assert "not ready" in encoder
    down = next(line for line in lines if line.startswith("host-1"))
    assert down.split() == ["host-1", "127.0.0.1:8002", "down", "2", "0", "exit", "code", "-9"]


def test_models_are_listed_in_json(running: RunningAgent) -> None:
    document = call_json("models", "--address", running.address, "list")
    assert [model["model"] for model in document["models"]] == ["understanding", "encoder"]
    assert document["models"][0]["published_at_ms"] == 1_790_000_000_000
    assert document["hosts"][1]["state"] == "HOST_STATE_DOWN"


# ---- status -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("health", "exit_code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_status_says_whether_it_serves(
    health: str, exit_code: int, running: RunningAgent, agent: ScriptedAgent
) -> None:
    agent.health = health
    result = call("status", "--address", running.address)
    assert result.exit_code == exit_code
    assert result.stdout.splitlines()[0] == f"{health} at {running.address}"
    assert "host-1" in result.stdout
    assert "deployments: unknown, no stack was started in this folder" in result.stdout
    document = json.loads(call("status", "--address", running.address, "--json").stdout)
    assert document["health"] == health
    assert document["hosts"][1]["restarts"] == 2
    assert document["deployments"] is None


def test_status_of_nothing(running: RunningAgent) -> None:
    result = call("status", "--address", NOWHERE)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"UNREACHABLE at {NOWHERE}")
    document = json.loads(call("--json", "status", "--address", NOWHERE).stdout)
    assert document["health"] == "UNREACHABLE"
    assert document["models"] is None
    assert document["notes"][0].startswith("ingress: UNAVAILABLE")


def test_status_tells_health_even_if_the_models_cannot_be_listed(
    running: RunningAgent, agent: ScriptedAgent
) -> None:
    agent.always("ListModels", fails(grpc.StatusCode.UNAVAILABLE, "supervisor is away"))
    result = call("status", "--address", running.address)
    assert result.exit_code == 0
    assert "models: UNAVAILABLE: supervisor is away" in result.stdout


def test_status_finds_the_stack_of_this_folder(running: RunningAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    write_run_file(RunFile(grpc_port=running.port, ray_address=f"127.0.0.1:{nobody}"), RUN_FILE)
    result = call("status")
    assert result.exit_code == 0
    assert f"SERVING at {running.address}" in result.stdout
    # Its Ray cluster is gone: said, not raised.
    assert "deployments: unknown, Ray does not answer" in result.stdout
    other = call("status", "--address", f"localhost:{running.port}")
    assert f"the stack of this folder is 127.0.0.1:{running.port}" in " ".join(other.stdout.split())


# ---- errors -------------------------------------------------------------------------------------


def test_error_is_one_line_on_stderr(running: RunningAgent, agent: ScriptedAgent) -> None:
    agent.always(
        "Converse", fails(grpc.StatusCode.INTERNAL, "internal error\nat line 3", error_id="4f2a")
    )
    result = call("ask", "hi", "--address", running.address)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: INTERNAL: internal error at line 3 (error id 4f2a)\n"


def test_error_is_a_json_document_too(running: RunningAgent, agent: ScriptedAgent) -> None:
    agent.always("Recommend", fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after_ms="9"))
    result = call("recommend", "--customer", "c1", "--json", "--address", running.address)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "error": {
            "code": "RESOURCE_EXHAUSTED",
            "message": "full",
            "trace_id": "",
            "error_id": "",
            "retry_after_ms": 9,
        }
    }
    assert result.stderr == "error: RESOURCE_EXHAUSTED: full (retry after 9 ms)\n"


@pytest.mark.parametrize(
    "arguments",
    [("ask", "hi"), ("recommend", "--customer", "c"), ("models", "list")],
    ids=lambda arguments: arguments[0],
)
def test_unreachable_server_is_said_in_one_line(arguments: tuple[str, ...]) -> None:
    result = call("--address", NOWHERE, "--deadline-ms", "2000", *arguments)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("error: UNAVAILABLE: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("deadline_ms", ["0", "-1", "nan"])
def test_unusable_deadline_is_refused(
    deadline_ms: str, running: RunningAgent, agent: ScriptedAgent
) -> None:
    result = call("ask", "hi", "--address", running.address, "--deadline-ms", deadline_ms)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: INVALID_ARGUMENT: deadline_ms: must be above 0")
    assert agent.calls == []


def test_text_with_broken_bytes_is_refused_readably(running: RunningAgent) -> None:
    result = call("ask", os.fsdecode(b"caf\xe9"), "--address", running.address)
    assert result.exit_code == 1
    assert "cannot be encoded" in result.stderr


def test_broken_run_file_is_named() -> None:
    path = RUN_FILE
    path.parent.mkdir(parents=True)
    path.write_text("{")
    result = call("status")
    assert result.exit_code == 2
    assert "error: STARTUP: run file: var/run/serve.json" in result.stderr


def test_unusable_settings_are_named() -> None:
    result = call("ask", "hi", environment={"CARTWRIGHT_SERVER__GRPC_PORT": "99999"})
    assert result.exit_code == 2
    assert "server.grpc_port" in result.stderr


def test_port_of_the_settings_is_the_default(running: RunningAgent) -> None:
    result = call("ask", "hi", environment={"CARTWRIGHT_SERVER__GRPC_PORT": str(running.port)})
    assert result.exit_code == 0, result.stderr

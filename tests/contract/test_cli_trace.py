"""`cartwright ask --trace`: listens for spans, sends a sampled context, prints the tree."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from serving.telemetry.receiver import SpanReceiver
from tests.scripted_agent import CONVERSE_REPLY, STREAM_EVENTS, RunningAgent, ScriptedAgent

AGENT_SPAN, STEP_SPAN, TRITON_SPAN = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def running(
    agent: ScriptedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningAgent]:
    monkeypatch.chdir(tmp_path)
    with RunningAgent(agent) as running:
        yield running


def call(running: RunningAgent, endpoint: str, *options: str) -> Result:
    environment = {
        "CARTWRIGHT_TELEMETRY__OTLP_ENDPOINT": endpoint,
        "CARTWRIGHT_TELEMETRY__EXPORT_DELAY_MS": "20",
    }
    return CliRunner(env=environment).invoke(
        cartwright, ["ask", "hi", "--trace", "--address", running.address, *options]
    )


class ExportsSpans:
    """A behaviour: sends the spans of the call to a collector, then answers."""

    def __init__(self, endpoint: str, reply: Any) -> None:
        self._endpoint = endpoint
        self._reply = reply

    def __call__(self, _request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        _version, trace_id, caller, flags = metadata["traceparent"].split("-")
        assert int(flags, 16) & 1
        # Children first, as exporters of different processes may well do.
        self._export("triton", trace_id, TRITON_SPAN, STEP_SPAN, "InferRequest", 1)
        self._export("cartwright-agent", trace_id, STEP_SPAN, AGENT_SPAN, "step understand", 1)
        self._export("cartwright-agent", trace_id, AGENT_SPAN, caller, "Converse", 2)
        return self._reply

    def _export(
        self, service: str, trace_id: str, span_id: str, parent_id: str, name: str, kind: int
    ) -> None:
        span = {
            "traceId": trace_id,
            "spanId": span_id,
            "parentSpanId": parent_id,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": "1790000000000000000",
            "endTimeUnixNano": "1790000000002500000",
        }
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
        request = urllib.request.Request(
            f"{self._endpoint}/v1/traces",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=5).close()


def test_the_tree_is_printed_below_the_answer(
    running: RunningAgent, agent: ScriptedAgent, endpoint: str
) -> None:
    agent.always("Converse", ExportsSpans(endpoint, CONVERSE_REPLY))
    result = call(running, endpoint)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    trace_id = agent.calls[0].metadata["traceparent"].split("-")[1]
    start = lines.index(f"trace {trace_id}")
    names = ["cartwright.v1.Agent/Converse", "Converse", "step understand", "InferRequest"]
    indents = []
    for line, name in zip(lines[start + 1 :], names, strict=True):
        assert name in line
        indents.append(line.index(name))
    assert indents == sorted(set(indents))
    assert "2.5 ms" in lines[-1]
    assert "cartwright-client client" in lines[start + 1]


def test_the_tree_is_part_of_the_json_document(
    running: RunningAgent, agent: ScriptedAgent, endpoint: str
) -> None:
    agent.always("ConverseStream", ExportsSpans(endpoint, STREAM_EVENTS))
    result = call(running, endpoint, "--stream", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["reply"]["text"]
    assert document["trace"]["note"] == ""
    (root,) = document["trace"]["spans"]
    assert root["name"] == "cartwright.v1.Agent/ConverseStream"
    assert root["attributes"]["rpc.response.status_code"] == "OK"
    (server,) = root["children"]
    assert server["service"] == "cartwright-agent"
    assert server["children"][0]["children"][0]["name"] == "InferRequest"
    assert server["duration_ms"] == pytest.approx(2.5)


def test_another_collector_keeps_its_port_and_gets_the_spans(
    running: RunningAgent, agent: ScriptedAgent
) -> None:
    with SpanReceiver() as collector:
        agent.always("Converse", ExportsSpans(collector.endpoint, CONVERSE_REPLY))
        result = call(running, collector.endpoint)
        assert result.exit_code == 0, result.output
        trace_id = agent.calls[0].metadata["traceparent"].split("-")[1]
        text = " ".join(result.stdout.split())
        assert f"another collector listens at {collector.endpoint}" in text
        assert f"(trace {trace_id})" in text
        # The client's own span is there as well.
        spans = collector.wait_for(trace_id, lambda spans: len(spans) == 4, 10)
    assert {span.service for span in spans} == {"cartwright-client", "cartwright-agent", "triton"}


def test_spans_that_this_command_cannot_receive_are_looked_up_elsewhere(
    running: RunningAgent, endpoint: str
) -> None:
    with_tls = endpoint.replace("http:", "https:")
    result = call(running, with_tls)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert f"spans go to {with_tls}: look up the trace there" in text
    # Nobody is there: said with the note, not by the exporter's own log.
    assert "without this command's own span" in text
    assert result.stderr == ""


def test_failed_call_shows_its_trace_and_its_error(
    running: RunningAgent, agent: ScriptedAgent, endpoint: str
) -> None:
    running.stop()
    result = call(running, endpoint, "--deadline-ms", "500")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: UNAVAILABLE: ")
    assert "cartwright.v1.Agent/Converse" in result.stdout
    assert "failed: Unavailable" in result.stdout


def test_switched_off_tracing_is_refused(
    running: RunningAgent, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTWRIGHT_TELEMETRY__ENABLED", "false")
    result = call(running, "http://127.0.0.1:4318")
    assert result.exit_code == 1
    assert "telemetry.enabled is false" in result.stderr
    assert agent.calls == []

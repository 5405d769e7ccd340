"""The OTLP receiver over HTTP: our own exporter's protobuf, JSON, compression, refusals."""

import gzip
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from serving.context import RequestContext, observe_step
from serving.deadline import Deadline
from serving.settings import TelemetrySettings
from serving.telemetry.receiver import MAX_BODY_BYTES, SpanReceiver
from serving.telemetry.setup import configure_tracing, flush_tracing, shutdown_tracing
from serving.telemetry.spans import server_span
from serving.telemetry.tree import is_complete

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def receiver() -> Iterator[SpanReceiver]:
    with SpanReceiver() as receiver:
        yield receiver


def export(trace_id: str = TRACE_ID, span_id: str = "b7ad6b7169203331") -> bytes:
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": "InferRequest",
        "startTimeUnixNano": "5",
        "endTimeUnixNano": "9",
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def post(receiver: SpanReceiver, body: bytes, path: str = "/v1/traces", **headers: str) -> Any:
    request = urllib.request.Request(
        receiver.endpoint + path,
        body,
        {"Content-Type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def traced(receiver: SpanReceiver) -> Iterator[None]:
    """This process exports to the receiver."""
    settings = TelemetrySettings(otlp_endpoint=receiver.endpoint, export_delay_ms=20)
    configure_tracing(settings, "agent")
    yield
    shutdown_tracing()


@pytest.mark.usefixtures("traced")
def test_spans_of_a_request_arrive_over_otlp(receiver: SpanReceiver) -> None:
    caller = f"00-{TRACE_ID}-b7ad6b7169203331-01"
    with server_span("cartwright.v1.Agent", "Converse", {"traceparent": caller}) as (
        trace_id,
        span_context,
    ):
        context = RequestContext(
            deadline=Deadline.after_ms(1000), trace_id=trace_id, span_context=span_context
        )
        with observe_step(context, "answer"):
            pass
    # Without a flush: within the configured delay.
    server, step = receiver.wait_for(TRACE_ID, lambda spans: len(spans) == 2, 10)
    assert (server.name, server.kind) == ("cartwright.v1.Agent/Converse", "server")
    assert server.service == "cartwright-agent"
    assert server.parent_id == "b7ad6b7169203331"
    assert step.parent_id == server.span_id
    assert server.start_ns <= step.start_ns <= step.end_ns <= server.end_ns
    assert flush_tracing()
    # The caller's own span is not ours to send.
    assert not is_complete([server, step])
    assert is_complete([server, step], caller_id="b7ad6b7169203331")


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("identity", lambda body: body),
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
    ],
    ids=str,
)
def test_json_is_taken_in_every_encoding(
    receiver: SpanReceiver, encoding: str, encode: Any
) -> None:
    assert post(receiver, encode(export()), Content_Encoding=encoding) == 200
    assert [span.name for span in receiver.spans(TRACE_ID)] == ["InferRequest"]


def test_base_url_may_have_a_path(receiver: SpanReceiver) -> None:
    assert post(receiver, export(), "/collector/v1/traces?x=1") == 200
    assert len(receiver.spans(TRACE_ID)) == 1


def test_a_batch_that_is_sent_again_counts_once(receiver: SpanReceiver) -> None:
    for _ in range(3):
        post(receiver, export())
    post(receiver, export(span_id="00f067aa0ba902b7"))
    assert len(receiver.spans(TRACE_ID)) == 2


@pytest.mark.parametrize(
    ("body", "path", "headers", "status", "reason"),
    [
        (export(), "/v1/metrics", {}, 404, "only /v1/traces"),
        (b"{", "/v1/traces", {}, 400, "not an OTLP trace export"),
        (export(), "/v1/traces", {"Content_Type": "application/x-protobuf"}, 400, "not an OTLP"),
        (export(), "/v1/traces", {"Content_Encoding": "br"}, 400, "'br' is not supported"),
        (b"\x1f\x8bxx", "/v1/traces", {"Content_Encoding": "gzip"}, 400, "broken gzip"),
        (
            gzip.compress(export())[:-9],
            "/v1/traces",
            {"Content_Encoding": "gzip"},
            400,
            "cut short",
        ),
    ],
    ids=["path", "json", "type", "encoding", "broken", "short"],
)
def test_what_cannot_be_read_is_refused(
    receiver: SpanReceiver,
    body: bytes,
    path: str,
    headers: dict[str, str],
    status: int,
    reason: str,
) -> None:
    code, text = post(receiver, body, path, **headers)
    assert code == status
    assert reason in text
    assert receiver.spans(TRACE_ID) == []
    # It still listens.
    assert post(receiver, export()) == 200


def test_bodies_are_bounded(receiver: SpanReceiver) -> None:
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1), 1)
    code, text = post(receiver, bomb, Content_Encoding="gzip")
    assert (code, "unpacked body is above" in text) == (400, True)
    connection = http.client.HTTPConnection(receiver.endpoint.removeprefix("http://"), timeout=5)
    try:
        for size, status in ((str(MAX_BODY_BYTES + 1), 413), ("many", 411)):
            connection.putrequest("POST", "/v1/traces")
            connection.putheader("Content-Length", size)
            connection.endheaders()
            response = connection.getresponse()
            assert response.status == status
            response.read()
            connection.close()
    finally:
        connection.close()


def test_waiting_ends_when_the_span_arrives(receiver: SpanReceiver) -> None:
    waiting = threading.Event()
    found: list[str] = []

    def wait() -> None:
        def until(spans: Any) -> bool:
            waiting.set()
            return len(spans) == 1

        found.extend(span.name for span in receiver.wait_for(TRACE_ID, until, 10))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    post(receiver, export("f" * 32))
    post(receiver, export())
    thread.join(10)
    assert found == ["InferRequest"]


def test_waiting_has_an_end(receiver: SpanReceiver) -> None:
    post(receiver, export())
    began = time.monotonic()
    found = receiver.wait_for(TRACE_ID, lambda spans: len(spans) == 2, 0.1)
    assert [span.name for span in found] == ["InferRequest"]
    assert 0.09 < time.monotonic() - began < 5


def test_oldest_traces_are_forgotten() -> None:
    ids = [f"{number:032x}" for number in (1, 2, 3)]
    with SpanReceiver(max_traces=2) as receiver:
        for trace_id in ids:
            post(receiver, export(trace_id))
        assert [len(receiver.spans(trace_id)) for trace_id in ids] == [0, 1, 1]


def test_address_that_is_taken_is_an_error(receiver: SpanReceiver) -> None:
    port = int(receiver.endpoint.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        SpanReceiver(port=port)


def test_port_is_free_again_at_once() -> None:
    with SpanReceiver() as first:
        port = int(first.endpoint.rsplit(":", 1)[1])
        post(first, export())
    with SpanReceiver(port=port) as second:
        assert post(second, export()) == 200
    assert len(second.spans(TRACE_ID)) == 1

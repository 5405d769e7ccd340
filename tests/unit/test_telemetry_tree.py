"""Spans off the wire, and the tree made of them: both encodings, any order, missing spans."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from serving.telemetry.otlp import SpanRecord, UnreadableSpans, parse_json, parse_protobuf
from serving.telemetry.tree import (
    SpanNode,
    build_tree,
    is_complete,
    missing_parents,
    render_tree,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
STARTED_NS = 1_790_000_000_000_000_000


def span(
    number: int,
    parent: int | None = None,
    *,
    start_ms: float = 0.0,
    duration_ms: float = 1.0,
    kind: str = "internal",
    name: str = "",
    failed: bool = False,
) -> SpanRecord:
    start_ns = STARTED_NS + int(start_ms * 1e6)
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=f"{number:016x}",
        parent_id="" if parent is None else f"{parent:016x}",
        name=name or f"span {number}",
        kind=kind,
        service="test",
        start_ns=start_ns,
        end_ns=start_ns + int(duration_ms * 1e6),
        failed=failed,
        status_message="why" if failed else "",
    )


# ---- encodings ----------------------------------------------------------------------------------

RECORD = SpanRecord(
    trace_id=TRACE_ID,
    span_id="b7ad6b7169203331",
    parent_id="00f067aa0ba902b7",
    name="ModelInfer ü",
    kind="server",
    service="triton",
    start_ns=STARTED_NS,
    end_ns=STARTED_NS + 2_500_001,
    attributes={"model": "encoder", "rows": 3, "share": 0.5, "warm": True},
    events=(("QUEUE_START", STARTED_NS + 5),),
    failed=True,
    status_message="queue is full",
)


def as_protobuf() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "triton"
    message = resource_spans.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(RECORD.trace_id),
        span_id=bytes.fromhex(RECORD.span_id),
        parent_span_id=bytes.fromhex(RECORD.parent_id),
        name=RECORD.name,
        kind=2,
        start_time_unix_nano=RECORD.start_ns,
        end_time_unix_nano=RECORD.end_ns,
    )
    message.attributes.add(key="model").value.string_value = "encoder"
    message.attributes.add(key="rows").value.int_value = 3
    message.attributes.add(key="share").value.double_value = 0.5
    message.attributes.add(key="warm").value.bool_value = True
    message.attributes.add(key="list").value.array_value.values.add().int_value = 1
    message.events.add(name="QUEUE_START", time_unix_nano=STARTED_NS + 5)
    message.status.code = 2
    message.status.message = "queue is full"
    return request


def as_json(**changes: Any) -> dict[str, Any]:
    written = {
        "traceId": RECORD.trace_id.upper(),
        "spanId": RECORD.span_id,
        "parentSpanId": RECORD.parent_id,
        "name": RECORD.name,
        "kind": 2,
        "startTimeUnixNano": str(RECORD.start_ns),
        "endTimeUnixNano": RECORD.end_ns,
        "attributes": [
            {"key": "model", "value": {"stringValue": "encoder"}},
            {"key": "rows", "value": {"intValue": "3"}},
            {"key": "share", "value": {"doubleValue": 0.5}},
            {"key": "warm", "value": {"boolValue": True}},
            {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
            {"key": "nothing"},
        ],
        "events": [{"name": "QUEUE_START", "timeUnixNano": str(STARTED_NS + 5)}],
        "status": {"code": 2, "message": "queue is full"},
        "flags": 257,
        **changes,
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "triton"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [written]}]}]}


def test_both_encodings_give_the_same_record() -> None:
    assert parse_protobuf(as_protobuf().SerializeToString()) == [RECORD]
    assert parse_json(json.dumps(as_json()).encode()) == [RECORD]


def test_json_enums_may_be_names() -> None:
    body = as_json(kind="SPAN_KIND_SERVER", status={"code": "STATUS_CODE_ERROR", "message": ""})
    (record,) = parse_json(json.dumps(body).encode())
    assert (record.kind, record.failed) == ("server", True)


@pytest.mark.parametrize("parent", ["", "0" * 16, None])
def test_root_has_no_parent(parent: str | None) -> None:
    (record,) = parse_json(json.dumps(as_json(parentSpanId=parent)).encode())
    assert record.parent_id == ""


@pytest.mark.parametrize("kind", [0, 99, -1, "ODD"])
def test_unknown_kind_is_unspecified(kind: int | str) -> None:
    (record,) = parse_json(json.dumps(as_json(kind=kind)).encode())
    assert record.kind == "unspecified"


def test_empty_export_holds_nothing() -> None:
    assert parse_protobuf(b"") == []
    assert parse_json(b'{"resourceSpans": []}') == []
    assert parse_json(b'{"resourceSpans": [{}]}') == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [3]}',
        b"\xff\xfe",
        json.dumps(as_json(traceId="xyz")).encode(),
        json.dumps(as_json(spanId="ab")).encode(),
        json.dumps(as_json(startTimeUnixNano="soon")).encode(),
        json.dumps(as_json(attributes=[{"key": "x", "value": {"intValue": "many"}}])).encode(),
    ],
)
def test_other_json_is_refused_readably(body: bytes) -> None:
    with pytest.raises(UnreadableSpans, match="not an OTLP trace export: "):
        parse_json(body)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for parse in (parse_protobuf, parse_json):
        try:
            parse(body)
        except UnreadableSpans:
            continue


# ---- tree ---------------------------------------------------------------------------------------


def flatten(nodes: list[SpanNode], depth: int = 0) -> list[tuple[str, int]]:
    return [
        found
        for node in nodes
        for found in [(node.span_id, depth), *flatten(node.children, depth + 1)]
    ]


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[SpanRecord], set[int]]:
    """A shuffled tree of spans, and the numbers of those left out."""
    count = draw(st.integers(1, 25))
    parents = [None, *(draw(st.integers(0, i - 1)) for i in range(1, count))]
    starts = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    spans = [
        span(i + 1, None if p is None else p + 1, start_ms=starts[i]) for i, p in enumerate(parents)
    ]
    missing = draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    kept = [record for i, record in enumerate(spans) if i not in missing]
    random.Random(draw(st.integers(0, 99))).shuffle(kept)
    return kept, {i + 1 for i in missing}


@given(forests())
def test_every_span_stands_once_below_its_parent(forest: tuple[list[SpanRecord], set[int]]) -> None:
    kept, missing = forest
    roots = build_tree(kept)
    placed = flatten(roots)
    ids = [span_id for span_id, _ in placed]
    assert len(ids) == len(set(ids))
    assert {record.span_id for record in kept} <= set(ids)
    # Of the missing ones, exactly those appear that a kept span names as its parent.
    assert set(ids) - {record.span_id for record in kept} == missing_parents(kept)
    assert missing_parents(kept) <= {f"{number:016x}" for number in missing}

    def check(node: SpanNode) -> None:
        starts = [child.start_ns for child in node.children]
        assert starts == sorted(starts)
        for child in node.children:
            assert child.span is not None
            assert child.span.parent_id == node.span_id
            check(child)

    for root in roots:
        check(root)
        assert root.span is None or not root.span.parent_id


def test_circles_become_trees() -> None:
    itself = span(1, 1)
    circle = [span(4, 3), span(3, 2), span(2, 4), span(5, 3)]
    placed = flatten(build_tree([itself, *circle]))
    assert sorted(span_id for span_id, _ in placed) == [f"{i:016x}" for i in range(1, 6)]
    assert (f"{2:016x}", 0) in placed


def printed(spans: list[SpanRecord]) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(render_tree(spans))
    return capture.get()


def test_tree_is_printed_with_times() -> None:
    spans = [
        span(3, 2, start_ms=2.0, duration_ms=4.25, name="ModelInfer [x]", kind="client"),
        span(1, start_ms=0.0, duration_ms=10.0, name="Converse", kind="client"),
        span(2, 1, start_ms=1.5, duration_ms=8.0, name="step answer", failed=True),
    ]
    assert printed(spans).splitlines() == [
        f"trace {TRACE_ID}",
        "└── Converse  test client  +0.0 ms  10.0 ms",
        "    └── step answer  test internal  +1.5 ms  8.0 ms  failed: why",
        "        └── ModelInfer [x]  test client  +2.0 ms  4.2 ms",
    ]


def test_missing_parent_is_shown() -> None:
    text = printed([span(9, 7, start_ms=1.0), span(1)])
    assert "(span 0000000000000007 has not arrived)" in text
    assert text.index("0000000000000007") < text.index("span 9")


def test_nothing_is_printable() -> None:
    assert printed([]).strip() == "trace"


def test_trace_is_complete_when_everything_called_is_there() -> None:
    client, server = span(1, kind="client"), span(2, 1, kind="server")
    step, call, infer = span(3, 2), span(4, 3, kind="client"), span(5, 4, kind="server")
    assert not is_complete([])
    assert not is_complete([client])
    assert not is_complete([client, step])
    assert is_complete([client, server])
    assert not is_complete([client, server, step, call])
    assert is_complete([infer, call, step, server, client])
    assert is_complete([client, server, step, span(4, 3, kind="client", failed=True)])

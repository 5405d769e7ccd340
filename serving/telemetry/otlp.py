"""Spans as they travel in OTLP export requests, in protobuf and in JSON.

In JSON, ids are hex digits and 64-bit integers may be strings (OTLP specification, "JSON Protobuf
Encoding"), which is why protobuf's own JSON parser cannot read it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

AttributeValue = str | int | float | bool

# Order of the enum `SpanKind` of the protocol.
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_ERROR = 2


class UnreadableSpans(ValueError):
    """The body is not an OTLP export request; the text says why."""


@dataclass(frozen=True, kw_only=True)
class SpanRecord:
    """One finished span. Times are nanoseconds since the Unix epoch."""

    # 32 hex digits.
    trace_id: str
    # 16 hex digits each; the parent's is "" for a root.
    span_id: str
    parent_id: str
    name: str
    kind: str
    # `service.name` of the process that made it.
    service: str
    start_ns: int
    end_ns: int
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    # (name, time) of each event, in the order sent.
    events: tuple[tuple[str, int], ...] = ()
    failed: bool = False
    status_message: str = ""


def parse_protobuf(body: bytes) -> list[SpanRecord]:
    """The spans of an export request in protobuf.

    Raises:
        UnreadableSpans: the body is something else.
    """
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise UnreadableSpans(f"not an OTLP trace export: {error}") from error
    return [
        SpanRecord(
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else _KINDS[0],
            service=_service(
                (a.key, a.value.string_value) for a in resource_spans.resource.attributes
            ),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            attributes={
                a.key: getattr(a.value, which)
                for a in span.attributes
                if (which := a.value.WhichOneof("value")) in _PROTOBUF_SCALARS
            },
            events=tuple((event.name, event.time_unix_nano) for event in span.events),
            failed=span.status.code == _STATUS_ERROR,
            status_message=span.status.message,
        )
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def parse_json(body: bytes) -> list[SpanRecord]:
    """The spans of an export request in JSON.

    Raises:
        UnreadableSpans: the body is something else.
    """
    try:
        return [
            _record(span, _service(_resource_attributes(resource_spans)))
            for resource_spans in json.loads(body)["resourceSpans"]
            for scope_spans in resource_spans.get("scopeSpans", ())
            for span in scope_spans.get("spans", ())
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableSpans(
            f"not an OTLP trace export: {type(error).__name__}: {error}"
        ) from error


_PROTOBUF_SCALARS = frozenset({"string_value", "bool_value", "int_value", "double_value"})


def _service(attributes: Iterator[tuple[str, AttributeValue]]) -> str:
    return next((str(value) for key, value in attributes if key == "service.name"), "")


def _resource_attributes(resource_spans: dict[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    yield from _scalars(resource_spans.get("resource", {}).get("attributes", ()))


def _record(span: dict[str, Any], service: str) -> SpanRecord:
    status = span.get("status", {})
    return SpanRecord(
        trace_id=_hex_id(span["traceId"], 16),
        span_id=_hex_id(span["spanId"], 8),
        parent_id=_hex_id(span["parentSpanId"], 8) if span.get("parentSpanId") else "",
        name=str(span.get("name", "")),
        kind=_kind(span.get("kind", 0)),
        service=service,
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes=dict(_scalars(span.get("attributes", ()))),
        events=tuple(
            (str(event.get("name", "")), int(event["timeUnixNano"]))
            for event in span.get("events", ())
        ),
        failed=status.get("code", 0) in (_STATUS_ERROR, "STATUS_CODE_ERROR"),
        status_message=str(status.get("message", "")),
    )


def _hex_id(text: str, size: int) -> str:
    """An id of `size` bytes as lower-case hex digits; "" if all of it is zero."""
    value = bytes.fromhex(text)
    if len(value) != size:
        raise ValueError(f"an id has {len(value)} bytes instead of {size}: {text!r}")
    return value.hex() if any(value) else ""


def _kind(value: int | str) -> str:
    name = (
        value.removeprefix("SPAN_KIND_").lower()
        if isinstance(value, str)
        else _KINDS[value]
        if 0 <= value < len(_KINDS)
        else ""
    )
    return name if name in _KINDS else _KINDS[0]


def _scalars(attributes: Any) -> Iterator[tuple[str, AttributeValue]]:
    """Attributes with a plain value; lists and maps are left out."""
    for attribute in attributes:
        value = attribute.get("value", {})
        if "stringValue" in value:
            yield attribute["key"], str(value["stringValue"])
        elif "intValue" in value:
            yield attribute["key"], int(value["intValue"])
        elif "boolValue" in value:
            yield attribute["key"], bool(value["boolValue"])
        elif "doubleValue" in value:
            number = float(value["doubleValue"])
            if math.isfinite(number):
                yield attribute["key"], number

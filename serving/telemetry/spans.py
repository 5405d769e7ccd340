"""Spans of remote calls, by the semantic conventions for RPC.

    metadata ─▶ server_span ─▶ RequestContext ─▶ observe_step ─▶ client_span ─▶ metadata

A request that is not sampled gets a trace id for its reply and its logs, but no span at all.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv._incubating.attributes.rpc_attributes import (
    RPC_METHOD,
    RPC_SYSTEM_NAME,
    RpcSystemNameValues,
)
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.context import RequestContext
from serving.telemetry.tracer import Attributes, active_tracing, open_span

TRACEPARENT = "traceparent"

_PROPAGATOR = TraceContextTextMapPropagator()
_NO_ATTRIBUTES: Attributes = {}


def new_trace_id() -> str:
    """A random W3C trace id: 32 hex digits, not all zero."""
    return f"{random.getrandbits(128) or 1:032x}"


def remote_parent(metadata: Mapping[str, str]) -> tuple[str, Context | None]:
    """Reads the caller's W3C trace context from call metadata (keys in lower case).

    Returns:
        The trace id ("" if there is no valid `traceparent`), and the context to open spans in
        (None if the caller did not sample, or nothing is traced in this process).
    """
    if TRACEPARENT not in metadata:
        return "", None
    context = _PROPAGATOR.extract(metadata, context=Context())
    caller = trace.get_current_span(context).get_span_context()
    if not caller.is_valid:
        return "", None
    traced = caller.trace_flags.sampled and active_tracing() is not None
    return trace.format_trace_id(caller.trace_id), context if traced else None


def outgoing_metadata(span_context: Context | None) -> tuple[tuple[str, str], ...]:
    """`traceparent` (and `tracestate`) for a call below `span_context`; () when not traced."""
    if span_context is None:
        return ()
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=span_context)
    return tuple(carrier.items())


def arriving_trace(metadata: Mapping[str, str]) -> tuple[str, Context | None]:
    """Decides whether a request that arrived is traced.

    The caller's sampling decision holds; a request without a trace context is sampled by
    `TelemetrySettings.sample_ratio`.

    Returns:
        The trace id (the caller's or a new one), and the context to open the request's span in
        (`request_span`), None when it is not traced.
    """
    trace_id, parent = remote_parent(metadata)
    if not trace_id:
        tracing = active_tracing()
        if tracing is not None and random.random() < tracing.sample_ratio:
            parent = Context()
        trace_id = new_trace_id()
    return trace_id, parent


@contextmanager
def request_span(
    service: str, method: str, trace_id: str, parent: Context
) -> Iterator[tuple[str, Context | None]]:
    """The span of a request that arrived and is traced.

    The outcome of the block becomes the status: raise the error, and convert it outside of the
    block.

    Args:
        service: full name of the gRPC service, e.g. "cartwright.v1.Agent".
        method: name of the method, e.g. "Converse".
        trace_id: of `arriving_trace`.
        parent: of `arriving_trace`.

    Yields:
        The trace id (32 hex digits), and the context to open child spans in, None when tracing was
        switched off meanwhile.
    """
    attributes = _rpc_attributes(service, method)
    with open_span(f"{service}/{method}", parent, SpanKind.SERVER, attributes) as span:
        if span is None:
            yield trace_id, None
        else:
            yield (
                trace.format_trace_id(span.get_span_context().trace_id),
                trace.set_span_in_context(span, parent),
            )


@contextmanager
def server_span(
    service: str, method: str, metadata: Mapping[str, str]
) -> Iterator[tuple[str, Context | None]]:
    """`arriving_trace` and `request_span` in one: (trace id, context to open child spans in)."""
    trace_id, parent = arriving_trace(metadata)
    if parent is None:
        yield trace_id, None
        return
    with request_span(service, method, trace_id, parent) as opened:
        yield opened


@contextmanager
def client_span(
    context: RequestContext,
    service: str,
    method: str,
    attributes: Attributes = _NO_ATTRIBUTES,
    links: Sequence[Link] = (),
) -> Iterator[tuple[tuple[str, str], ...]]:
    """The span of a call to another process, below the request's current span.

    Args:
        context: the request; its `span_context` is the parent.
        service: full name of the called gRPC service, e.g. "inference.GRPCInferenceService".
        method: name of the method.
        attributes: further attributes, e.g. `server.address`, the model's name, the batch size.
        links: spans of further requests that the call is made for.

    Yields:
        The metadata to send along (`traceparent`), or () when the request is not traced.
    """
    parent = context.span_context
    if parent is None:
        yield ()
        return
    with call_span(service, method, parent, attributes, links) as below:
        yield outgoing_metadata(below)


@contextmanager
def call_span(
    service: str,
    method: str,
    parent: Context,
    attributes: Attributes = _NO_ATTRIBUTES,
    links: Sequence[Link] = (),
) -> Iterator[Context | None]:
    """The span of a call below any context; an empty one makes it the root of a new trace.

    Yields the context with the span, or None when nothing is traced in this process.
    """
    everything = {**_rpc_attributes(service, method), **attributes}
    with open_span(f"{service}/{method}", parent, SpanKind.CLIENT, everything, links) as span:
        yield None if span is None else trace.set_span_in_context(span, parent)


def _rpc_attributes(service: str, method: str) -> dict[str, str]:
    return {
        RPC_SYSTEM_NAME: RpcSystemNameValues.GRPC.value,
        RPC_METHOD: f"{service}/{method}",
    }

"""The tracer of this process, and the one way in which spans are opened and closed.

Spans are handed down explicitly (`RequestContext.span_context`) and never made current: a streaming
method may be closed from another task, where the current context could not be taken back.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.context import Context
from opentelemetry.semconv._incubating.attributes.rpc_attributes import RPC_RESPONSE_STATUS_CODE
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from serving.errors import CartwrightError

Attributes = Mapping[str, str | int | float]

# The semantic conventions for gRPC servers: other codes are the caller's doing, not an error here.
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """What makes spans in this process, and the share of root requests in [0, 1] that get one."""

    tracer: Tracer
    sample_ratio: float = 0.0


_active: Tracing | None = None


def active_tracing() -> Tracing | None:
    """The tracing of this process; None while it is switched off."""
    return _active


def activate(tracing: Tracing | None) -> None:
    """Replaces the tracing of this process; None switches it off."""
    global _active
    _active = tracing


@contextmanager
def open_span(
    name: str,
    parent: Context,
    kind: SpanKind,
    attributes: Attributes,
    links: Sequence[Link] = (),
) -> Iterator[Span | None]:
    """A span below `parent`; closed, with its outcome, however the block ends.

    `links` are further spans that it was made for.

    Yields None when tracing has been switched off.
    """
    tracing = _active
    if tracing is None:
        yield None
        return
    span = tracing.tracer.start_span(
        name, context=parent, kind=kind, attributes=dict(attributes), links=links
    )
    try:
        yield span
    except BaseException as error:
        _record_error(span, kind, error)
        raise
    else:
        if kind is not SpanKind.INTERNAL:
            span.set_attribute(RPC_RESPONSE_STATUS_CODE, grpc.StatusCode.OK.name)
    finally:
        span.end()


def status_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC status that a caller sees for `error`."""
    if isinstance(error, CartwrightError):
        return error.code
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.INTERNAL


def _record_error(span: Span, kind: SpanKind, error: BaseException) -> None:
    """Notes code, class and, if it was written for callers, the text of an error.

    Texts of other exceptions may hold what a customer wrote; they stay out of the span.
    """
    code = status_of(error)
    if kind is not SpanKind.INTERNAL:
        span.set_attribute(RPC_RESPONSE_STATUS_CODE, code.name)
        if kind is SpanKind.SERVER and code not in _SERVER_FAULTS:
            return
    span.set_attribute(ERROR_TYPE, code.name)
    text = f": {error.message}" if isinstance(error, CartwrightError) else ""
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}{text}"))

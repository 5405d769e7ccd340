"""One call from its first byte to its status: trace, deadline, admission, work, errors."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry.context import Context

from serving import deadline as deadlines
from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import DeadlineExceeded, InvalidRequest
from serving.ingress.admission import Admission, Priority
from serving.ingress.authorization import pinned_versions
from serving.ingress.books import Books
from serving.ingress.servicers import Undecodable
from serving.ingress.status import GrpcContext, answer_with_error, tell_limit
from serving.telemetry.spans import arriving_trace, request_span, server_span
from serving.time_limit import TimeLimit

Reply = TypeVar("Reply")
Event = TypeVar("Event")


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a call needs to know of the method that was called."""

    # Full name, e.g. "cartwright.v1.Agent".
    service: str
    name: str
    default_deadline_ms: float
    # Latency that 99 of 100 calls should keep to.
    objective_ms: float = 1000.0
    priority: Priority = Priority.TALK
    # None: let in whatever the load (health, status).
    admission: Admission | None = None
    # Of those who may ask for versions of models by number; "" for nobody.
    admin_token: str = ""
    # None: calls are not entered in the ledger (health, status).
    books: Books | None = None


class _Accepted:
    """Starts the clock and takes a place; gives both back. An error of its own if time runs out.

    A class and not a generator: it stands in the way of every request.
    """

    __slots__ = ("_began_s", "_context", "_limit", "_method")

    def __init__(
        self,
        method: Method,
        request: Any,
        metadata: dict[str, str],
        trace_id: str,
        span_context: Context | None,
    ) -> None:
        """Takes nothing yet.

        Raises:
            InvalidRequest: the request is no message, or its deadline is none.
            Unauthenticated, PermissionDenied: it asks for versions of models without the right to.
        """
        deadline = Deadline.from_metadata(
            metadata.get(deadlines.METADATA_KEY), method.default_deadline_ms
        )
        if isinstance(request, Undecodable):
            raise InvalidRequest("request", request.reason)
        self._method = method
        self._context = RequestContext(
            deadline=deadline,
            trace_id=trace_id,
            span_context=span_context,
            pinned=pinned_versions(metadata, method.admin_token),
        )
        self._limit = TimeLimit(deadline.at_s)
        self._began_s = 0.0

    def __enter__(self) -> RequestContext:
        if self._method.admission is not None:
            self._method.admission.enter(self._method.priority)
        self._began_s = time.monotonic()
        self._limit.__enter__()
        return self._context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        latency_ms = (time.monotonic() - self._began_s) * 1000.0
        if self._method.admission is not None:
            self._method.admission.leave(latency_ms, self._method.objective_ms)
        outcome = error
        try:
            self._limit.__exit__(kind, error, traceback)
        except TimeoutError as late:
            outcome = DeadlineExceeded("the deadline passed while the request was served")
            raise outcome from late
        finally:
            # Before the reply leaves: what a customer reads stands in the ledger.
            if self._method.books is not None:
                self._method.books.answered(self._method.name, self._context, outcome, latency_ms)


async def unary(
    method: Method,
    request: Any,
    grpc_context: GrpcContext,
    work: Callable[[RequestContext], Awaitable[Reply]],
    empty: Callable[[], Reply],
) -> Reply:
    """Runs a unary call. An error becomes the call's status, beside an empty reply."""
    metadata = dict(grpc_context.invocation_metadata())
    trace_id, parent = arriving_trace(metadata)
    try:
        if parent is None:
            with _Accepted(method, request, metadata, trace_id, None) as context:
                reply = await work(context)
        else:
            with (
                request_span(method.service, method.name, trace_id, parent) as opened,
                _Accepted(method, request, metadata, *opened) as context,
            ):
                reply = await work(context)
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a status here
        answer_with_error(grpc_context, error)
        reply = empty()
    # Of a call that failed as well: when all run out of time, the limit falls the most.
    limit = None if method.admission is None else method.admission.news()
    if limit is not None:
        await tell_limit(grpc_context, limit)
    return reply


async def server_stream(
    method: Method,
    request: Any,
    grpc_context: GrpcContext,
    work: Callable[[RequestContext], AsyncGenerator[Event, None]],
) -> AsyncGenerator[Event, None]:
    """Runs a server-streaming call. An error ends the stream with its status.

    Close it when it is left early: the work then ends before its place is free again.
    """
    metadata = dict(grpc_context.invocation_metadata())
    try:
        with (
            server_span(method.service, method.name, metadata) as opened,
            _Accepted(method, request, metadata, *opened) as context,
        ):
            async with aclosing(work(context)) as told:
                async for event in told:
                    yield event
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a status here
        answer_with_error(grpc_context, error)

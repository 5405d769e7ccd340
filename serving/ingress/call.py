"""One call from its first byte to its status: trace, deadline, admission, work, errors."""

from asyncio import timeout
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from serving import deadline as deadlines
from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import DeadlineExceeded, InvalidRequest, Overloaded
from serving.ingress.servicers import Undecodable
from serving.ingress.status import GrpcContext, answer_with_error
from serving.telemetry.spans import server_span

Reply = TypeVar("Reply")
Event = TypeVar("Event")


class Admission:
    """Counts the calls in flight and refuses beyond the limit, before any work is done."""

    def __init__(self, max_in_flight: int, retry_after_ms: int) -> None:
        self._max_in_flight = max_in_flight
        self._retry_after_ms = retry_after_ms
        self.in_flight = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for the length of the block.

        Raises:
            Overloaded: all places are taken.
        """
        if self.in_flight >= self._max_in_flight:
            raise Overloaded(
                f"{self.in_flight} requests are in flight, the limit of this replica",
                self._retry_after_ms,
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a call needs to know of the method that was called."""

    # Full name, e.g. "cartwright.v1.Agent".
    service: str
    name: str
    default_deadline_ms: float
    # None: let in whatever the load (health, status).
    admission: Admission | None = None


@asynccontextmanager
async def _accepted(
    method: Method, request: Any, metadata: dict[str, str]
) -> AsyncIterator[RequestContext]:
    """Opens the span, starts the clock and takes a place; gives all of them back."""
    with server_span(method.service, method.name, metadata) as (trace_id, span_context):
        deadline = Deadline.from_metadata(
            metadata.get(deadlines.METADATA_KEY), method.default_deadline_ms
        )
        context = RequestContext(deadline=deadline, trace_id=trace_id, span_context=span_context)
        if isinstance(request, Undecodable):
            raise InvalidRequest("request", request.reason)
        try:
            async with timeout(deadline.remaining_ms() / 1000.0):
                if method.admission is None:
                    yield context
                else:
                    with method.admission.place():
                        yield context
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline passed while the request was served") from error


async def unary(
    method: Method,
    request: Any,
    grpc_context: GrpcContext,
    work: Callable[[RequestContext], Awaitable[Reply]],
    empty: Callable[[], Reply],
) -> Reply:
    """Runs a unary call. An error becomes the call's status, beside an empty reply."""
    metadata = dict(grpc_context.invocation_metadata())
    try:
        async with _accepted(method, request, metadata) as context:
            return await work(context)
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a status here
        answer_with_error(grpc_context, error)
        return empty()


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
        async with _accepted(method, request, metadata) as context, aclosing(work(context)) as told:
            async for event in told:
                yield event
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a status here
        answer_with_error(grpc_context, error)

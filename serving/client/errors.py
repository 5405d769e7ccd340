"""A failed call as an error of the tree in `serving.errors`: by its status code alone."""

from typing import Any

import grpc

from serving.errors import (
    ERROR_ID_KEY,
    RETRY_AFTER_KEY,
    CartwrightError,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

_BY_CODE: dict[grpc.StatusCode, type[CartwrightError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.INTERNAL: Internal,
}


class UnexpectedStatus(CartwrightError):
    """A status that the stack does not send on purpose, e.g. UNIMPLEMENTED by another version."""

    def __init__(self, status: str, details: str) -> None:
        super().__init__(status, details)
        self.code = grpc.StatusCode[status]

    @property
    def message(self) -> str:
        """The server's text."""
        return str(self.args[1])


def error_of(failure: Any, *, deadline_ms: float, trace_id: str) -> CartwrightError:
    """The error to raise for a failed call.

    Args:
        failure: `grpc.RpcError` of a blocking call, or `grpc.aio.AioRpcError`.
        deadline_ms: the whole call's deadline, for the text.
        trace_id: what was sent with the call, or "".
    """
    code: grpc.StatusCode = failure.code()
    details: str = failure.details() or code.name
    trailers = {str(key): value for key, value in failure.trailing_metadata() or ()}
    error = _build(code, details, deadline_ms, str(trailers.get(RETRY_AFTER_KEY, "")))
    error.trace_id = trace_id
    error.error_id = str(trailers.get(ERROR_ID_KEY, ""))
    return error


def _build(
    code: grpc.StatusCode, details: str, deadline_ms: float, retry_after_ms: str
) -> CartwrightError:
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            field, separator, reason = details.partition(": ")
            return (
                InvalidRequest(field, reason) if separator else InvalidRequest("request", details)
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            # The ingress sheds before our code runs, and then names no time.
            return (
                Overloaded(details, int(retry_after_ms))
                if retry_after_ms.isdecimal()
                else Overloaded(details)
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{details} (deadline of the call: {deadline_ms:g} ms)")
        case _ if code in _BY_CODE:
            return _BY_CODE[code](details)
        case _:
            return UnexpectedStatus(code.name, details)

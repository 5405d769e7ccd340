"""The error tree, each class with its gRPC status code.

CartwrightError
├── InvalidRequest           INVALID_ARGUMENT     unusable as sent; names the field
├── NotFound                 NOT_FOUND            the thing asked for does not exist
├── Unauthenticated          UNAUTHENTICATED      no or unknown credentials
├── PermissionDenied         PERMISSION_DENIED    known caller, not allowed
├── FailedPrecondition       FAILED_PRECONDITION  not in the present state; says what would be
├── Conflict                 ABORTED              somebody else was first; read again
├── Overloaded               RESOURCE_EXHAUSTED   shed; carries a retry-after
├── DeadlineExceeded         DEADLINE_EXCEEDED    no time left
├── Unavailable              UNAVAILABLE          cannot serve now; a retry may succeed
│   ├── ModelUnavailable                          no host has the model ready
│   ├── StoreUnavailable                          the store cannot read or write
│   └── SessionConflict                           another turn of the session was saved meanwhile
├── Internal                 INTERNAL             a defect; the caller sees only an id
│   └── ModelContractViolated                     a model's tensors do not match its spec
└── StartupError             (exit code)          the stack cannot start; names the setting or file

Every constructor argument stands in ``args``, so that errors survive pickling between processes.
"""

import grpc

# Trailing metadata beside the status: of `Overloaded`, and of `Internal`.
RETRY_AFTER_KEY = "retry-after-ms"
ERROR_ID_KEY = "error-id"


class CartwrightError(Exception):
    """Base of all errors that the stack raises on purpose."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    # Set by the client on what came over the wire: the call's trace, and on INTERNAL the id to
    # look up in the server's logs.
    trace_id: str = ""
    error_id: str = ""

    @property
    def message(self) -> str:
        """Text for the caller."""
        return str(self.args[0]) if self.args else (type(self).__doc__ or "").split("\n")[0]


class InvalidRequest(CartwrightError):
    """The request cannot be served as it is; names the field and the reason."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    @property
    def message(self) -> str:
        """`field: reason`."""
        return f"{self.field}: {self.reason}"


class NotFound(CartwrightError):
    """The thing asked for does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class Unauthenticated(CartwrightError):
    """The caller showed no or unknown credentials."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CartwrightError):
    """The caller is known but may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class FailedPrecondition(CartwrightError):
    """The present state does not allow it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Conflict(CartwrightError):
    """Somebody else changed the same thing in the meantime."""

    code = grpc.StatusCode.ABORTED


class Overloaded(CartwrightError):
    """The request was shed; try again after `retry_after_ms` milliseconds."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(message, retry_after_ms)
        self.retry_after_ms = retry_after_ms


class DeadlineExceeded(CartwrightError):
    """No time is left for the request."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(CartwrightError):
    """The stack cannot serve the request now; a retry may succeed."""

    code = grpc.StatusCode.UNAVAILABLE


class ModelUnavailable(Unavailable):
    """No host has the model ready."""


class StoreUnavailable(Unavailable):
    """The store cannot read or write now."""


class SessionConflict(Unavailable):
    """Another turn of the same session was saved in the meantime."""


class Internal(CartwrightError):
    """Something that should not happen; the caller sees a neutral sentence and an id."""

    code = grpc.StatusCode.INTERNAL


class ModelContractViolated(Internal):
    """A model's inputs or outputs do not match its spec."""


class StartupError(CartwrightError):
    """The stack cannot start; the text names the setting or file at fault."""

    exit_code = 2

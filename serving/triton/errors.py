"""What a failed call to Triton means: one table, the first line that fits wins.

Triton says UNAVAILABLE for a full queue, for a request that waited too long and for a server that
is going away, and a broken connection looks the same; only the text tells them apart. The texts
are those of Triton 2.51; an integration test provokes each.
"""

from collections.abc import Callable
from typing import Any

import grpc

from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
)

_Code = grpc.StatusCode


class HostLost(ModelUnavailable):
    """The chosen host cannot be asked; another one, or the same a moment later, may answer."""


def _overloaded(text: str) -> CartwrightError:
    return Overloaded(text)


# (status, part of the text or "" for any, error)
_TABLE: tuple[tuple[grpc.StatusCode, str, Callable[[str], CartwrightError]], ...] = (
    (_Code.UNAVAILABLE, "Exceeds maximum queue size", _overloaded),
    (_Code.UNAVAILABLE, "Request timeout expired", DeadlineExceeded),
    # The rest of UNAVAILABLE: refused, connection lost, "Server not ready", "Server is stopping",
    # and a version that is being loaded or unloaded.
    (_Code.UNAVAILABLE, "", HostLost),
    # "Request for unknown model: … is not found" or "… has no available versions".
    (_Code.NOT_FOUND, "", HostLost),
    (_Code.DEADLINE_EXCEEDED, "", DeadlineExceeded),
    # The server cancels when the deadline passes and when it goes away; the client's own
    # cancellation never gets here.
    (_Code.CANCELLED, "", HostLost),
    (_Code.INVALID_ARGUMENT, "", ModelContractViolated),
    (_Code.OUT_OF_RANGE, "", ModelContractViolated),
    # A message beyond the limits of gRPC.
    (_Code.RESOURCE_EXHAUSTED, "message larger than max", ModelContractViolated),
    (_Code.RESOURCE_EXHAUSTED, "", _overloaded),
    # The process that runs the model was killed; its host brings it back.
    (_Code.INTERNAL, "is not healthy", HostLost),
    # Something listens there, but not Triton.
    (_Code.UNIMPLEMENTED, "", HostLost),
)


def meaning_of(code: grpc.StatusCode, details: str, model: str, url: str) -> CartwrightError:
    """The error that a status of Triton stands for.

    Args:
        code: gRPC status.
        details: text of the status.
        model: the model that was asked.
        url: the host that was asked.
    """
    text = f"model {model} at {url}: {' '.join(details.split())}"
    for row_code, part, error in _TABLE:
        if code is row_code and part in details:
            return error(text)
    return Internal(f"{text} ({code.name})")


def from_rpc_error(error: Any, model: str, url: str) -> CartwrightError:
    """Like `meaning_of`, for a `grpc.aio.AioRpcError`."""
    return meaning_of(error.code(), error.details() or "", model, url)

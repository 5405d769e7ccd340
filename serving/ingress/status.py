"""From an error of any depth to a gRPC status: the one place where they meet."""

import logging
import uuid
from typing import Any, Protocol

import grpc

from serving.edge.haproxy import LIMIT_HEADER
from serving.errors import (
    ERROR_ID_KEY,
    RETRY_AFTER_KEY,
    CartwrightError,
    Internal,
    Overloaded,
    StartupError,
)

logger = logging.getLogger(__name__)

# gRPC sends details in an HTTP/2 header; long ones are cut.
MAX_DETAILS_CHARS = 1024


class GrpcContext(Protocol):
    """What the ingress needs of a call's context: Ray Serve's and grpc.aio's both have it."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the status code of the reply."""

    def set_details(self, details: str) -> None:
        """Sets the status text of the reply."""

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sets the metadata sent after the reply."""

    def invocation_metadata(self) -> Any:
        """Metadata of the caller as pairs."""


async def tell_limit(grpc_context: GrpcContext, limit: int) -> None:
    """Tells the edge, in a header of the reply, how many calls may be in flight here.

    Ray Serve's own context cannot; then the edge keeps to the highest limit.
    """
    send = getattr(grpc_context, "send_initial_metadata", None)
    if send is not None:
        await send(((LIMIT_HEADER, str(limit)),))


def as_cartwright_error(error: Exception) -> CartwrightError:
    """What the caller may see of an error: our own as they are, any other as a neutral one."""
    if isinstance(error, CartwrightError) and not isinstance(error, Internal | StartupError):
        return error
    error_id = uuid.uuid4().hex
    logger.error("error %s: %s", error_id, error, exc_info=error)
    return Internal(error_id)


def answer_with_error(grpc_context: GrpcContext, error: Exception) -> None:
    """Sets code, text and trailing metadata of a call that failed.

    The ingress then returns an empty message instead of raising: Ray Serve sends trailing metadata
    only for calls that return, and logs a traceback for those that raise.
    """
    shown = as_cartwright_error(error)
    trailing: list[tuple[str, str]] = []
    details = shown.message
    if isinstance(shown, Overloaded):
        trailing.append((RETRY_AFTER_KEY, str(shown.retry_after_ms)))
    elif isinstance(shown, Internal):
        details = f"internal error; its id in the logs is {shown.message}"
        trailing.append((ERROR_ID_KEY, shown.message))
    grpc_context.set_code(shown.code)
    # A header cannot hold line breaks.
    grpc_context.set_details(" ".join(details[:MAX_DETAILS_CHARS].split()))
    # A list: Ray Serve appends it to one of its own.
    grpc_context.set_trailing_metadata(trailing)

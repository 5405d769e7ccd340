"""One gRPC connection to one model host."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from opentelemetry.trace import Link
from tritonclient.grpc import service_pb2_grpc

from serving.context import RequestContext
from serving.errors import DeadlineExceeded
from serving.telemetry.spans import client_span
from serving.triton.errors import from_rpc_error
from serving.triton.served import parse_served_name

SERVICE = "inference.GRPCInferenceService"
METHOD = "ModelInfer"
# Parameter of a request: microseconds that it may wait in Triton's queue. Heeded by models whose
# queue policy allows it to override a default that is longer.
_TIMEOUT_PARAMETER = "timeout"
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A host that is back has to be found quickly; it has few clients.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Otherwise connections to the same address share their backoff.
    ("grpc.use_local_subchannel_pool", 1),
    # Finds a machine that vanished without a word. Only while a call waits, and longer than any
    # call should: Triton's default is to hang up on clients that ping often.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
)


class TritonConnection:
    """A channel to the gRPC endpoint `url` (host:port); belongs to the running event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        host, _, port = url.rpartition(":")
        self._address: Mapping[str, str | int] = {"server.address": host, "server.port": int(port)}
        self._channel: Any = grpc.aio.insecure_channel(url, options=_OPTIONS)
        self._infer: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer

    async def infer(
        self, request: Any, rows: int, context: RequestContext, links: Sequence[Link] = ()
    ) -> Any:
        """Sends a `ModelInferRequest` within the request's deadline; returns the response.

        Cancelling the awaiting task cancels the call, and Triton drops the request.

        Args:
            request: with its tensors; gets the remaining time as Triton's timeout.
            rows: size of the batch, for the span.
            context: deadline and trace.
            links: spans of further requests that are answered by the same call.

        Raises:
            HostLost: the host cannot be asked.
            DeadlineExceeded: no time is left, or it ran out here or in Triton's queue.
            Overloaded: the model's queue is full.
            ModelContractViolated: Triton does not accept the tensors.
            Internal: the model failed.
        """
        model = request.model_name
        attributes: Mapping[str, str | int] = {}
        if context.span_context is not None:
            version = parse_served_name(model)
            attributes = {
                **self._address,
                "cartwright.model": model if version is None else version.model,
                "cartwright.model.version": request.model_version,
                "cartwright.rows": rows,
            }
        with client_span(context, SERVICE, METHOD, attributes, links) as metadata:
            remaining_ms = context.deadline.remaining_ms()
            if remaining_ms <= 0:
                raise DeadlineExceeded(f"no time left for model {model}")
            request.parameters[_TIMEOUT_PARAMETER].int64_param = max(1, int(remaining_ms * 1000))
            try:
                return await self._infer(
                    request, timeout=remaining_ms / 1000.0, metadata=metadata or None
                )
            except grpc.aio.AioRpcError as error:
                if context.deadline.remaining_ms() <= 0:
                    raise DeadlineExceeded(f"time ran out for model {model}") from error
                raise from_rpc_error(error, model, self.url) from error

    async def close(self, grace_s: float | None = None) -> None:
        """Closes the channel; calls under way may still take `grace_s` seconds."""
        await self._channel.close(grace_s)

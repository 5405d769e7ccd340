"""Stands between the commands and a stack, so that a step can be held at a certain moment."""

import threading
from concurrent import futures
from typing import Any, Literal, Self

import grpc

from serving.client.methods import CHANGE_MODEL
from serving.protos import commerce_pb2 as pb

# "before" the stack learns of the step, or "after" it was taken and before the command learns that.
Moment = Literal["before", "after"]
_TIMEOUT_S = 60.0


class AdminRelay:
    """Hands calls on, within a `with` block, and holds the first of one action at one moment.

    What is still held at the end of the block fails.
    """

    def __init__(self, address: str, moment: Moment, action: str) -> None:
        """Opens nothing yet.

        Args:
            address: the stack's.
            moment: when to hold the step.
            action: as in the API, e.g. "promote".
        """
        self._at = (moment, pb.ModelAction.Value(f"MODEL_ACTION_{action.upper()}"))
        self._target = address
        self._held = threading.Event()
        self._decided = threading.Event()
        self._goes_on = False

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._target)
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        self._server.add_generic_rpc_handlers([_Handler(self)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._decided.set()
        self._server.stop(_TIMEOUT_S).wait()
        self._channel.close()

    def wait(self) -> None:
        """Returns once the step is held."""
        assert self._held.wait(_TIMEOUT_S), "the step was not asked for in time"

    def go_on(self) -> None:
        """Lets the step go on."""
        self._goes_on = True
        self._decided.set()

    def handle(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Hands one call on."""
        action = None
        if method == CHANGE_MODEL.path:
            action = pb.ChangeModelRequest.FromString(request).action
        self._hold("before", action, context)
        metadata = [(k, v) for k, v in context.invocation_metadata() if k == "authorization"]
        call: Any = self._channel.unary_unary(method)
        try:
            reply: bytes = call(request, timeout=context.time_remaining(), metadata=metadata)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        self._hold("after", action, context)
        return reply

    def _hold(self, moment: Moment, action: int | None, context: grpc.ServicerContext) -> None:
        if (moment, action) != self._at or self._held.is_set():
            return
        self._held.set()
        self._decided.wait(_TIMEOUT_S)
        if not self._goes_on:
            context.abort(grpc.StatusCode.ABORTED, "held to the end")


class _Handler(grpc.GenericRpcHandler):
    """Takes every method, with its messages as bytes."""

    def __init__(self, relay: AdminRelay) -> None:
        self._relay = relay

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """A handler of the method that is called."""
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._relay.handle(details.method, request, context)
        )

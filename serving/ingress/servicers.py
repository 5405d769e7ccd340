"""Registers the services with Ray Serve's gRPC server, which finds these functions by name.

Ray Serve wraps every call of a replica's server: a context of its own, metrics, two request ids, a
generator. That is a quarter of what a replica spends on a call. A replica that has called
`serve_directly` gets its calls from gRPC itself; the wrapping stays away, as it does for Ray
Serve's own reflection service. Admission, deadlines, metrics and draining do not need it.

An undecodable request (invalid UTF-8 in a string field, truncated bytes) reaches the ingress as
`Undecodable` instead of ending in gRPC's own INTERNAL, so that the caller reads INVALID_ARGUMENT.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc

from serving.protos import commerce_pb2_grpc

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undecodable:
    """Bytes that are not a message of the method's request type."""

    reason: str


def _tolerant(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    deserialize = handler.request_deserializer

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return Undecodable(f"is not a valid message ({error}); text fields must be valid UTF-8")

    return handler._replace(request_deserializer=decode)


class _TolerantServer:
    """Stands in for the server while a generated function registers its handlers."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, generic_handlers: Sequence[Any]) -> None:
        for generic in generic_handlers:
            handlers = generic._method_handlers
            generic._method_handlers = {path: _tolerant(h) for path, h in handlers.items()}
        self._server.add_generic_rpc_handlers(generic_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler]
    ) -> None:
        self._server.add_registered_method_handlers(
            service_name, {name: _tolerant(h) for name, h in method_handlers.items()}
        )


class _DirectServer(_TolerantServer):
    """The same for a server of Ray Serve that shall call the ingress itself."""

    def add_generic_rpc_handlers(self, generic_handlers: Sequence[Any]) -> None:
        for generic in generic_handlers:
            for path in generic._method_handlers:
                self._server.add_passthrough_service(path.split("/")[1])
        super().add_generic_rpc_handlers(generic_handlers)


# The ingress of this process with its loop, once it takes calls directly.
_ingress: tuple[Any, asyncio.AbstractEventLoop] | None = None


def serve_directly(ingress: Any) -> None:
    """From now on, servers of Ray Serve in this process and loop call `ingress` themselves.

    To be called in the replica's constructor: Ray Serve starts the server afterwards.
    """
    global _ingress
    _ingress = (ingress, asyncio.get_running_loop())


def _registering(add: Callable[[Any, Any], None], servicer: Any, server: Any) -> None:
    if _ingress is None:
        add(servicer, _TolerantServer(server))
        return
    ingress, loop = _ingress
    if not hasattr(server, "add_passthrough_service"):
        why = "this version of Ray Serve has no passthrough services"
    elif asyncio.get_running_loop() is not loop:
        why = "Ray Serve runs its server in another loop than the deployment's code"
    else:
        add(ingress, _DirectServer(server))
        return
    _log.warning("server.direct_calls: calls take Ray Serve's way: %s", why)
    add(servicer, _TolerantServer(server))


def add_agent(servicer: Any, server: Any) -> None:
    """Registers cartwright.v1.Agent."""
    _registering(commerce_pb2_grpc.add_AgentServicer_to_server, servicer, server)


def add_events(servicer: Any, server: Any) -> None:
    """Registers cartwright.v1.Events."""
    _registering(commerce_pb2_grpc.add_EventsServicer_to_server, servicer, server)


def add_knowledge(servicer: Any, server: Any) -> None:
    """Registers cartwright.v1.Knowledge."""
    _registering(commerce_pb2_grpc.add_KnowledgeServicer_to_server, servicer, server)


def add_models(servicer: Any, server: Any) -> None:
    """Registers cartwright.v1.Models."""
    _registering(commerce_pb2_grpc.add_ModelsServicer_to_server, servicer, server)


def add_health(servicer: Any, server: Any) -> None:
    """Registers grpc.health.v1.Health."""
    _registering(health_pb2_grpc.add_HealthServicer_to_server, servicer, server)


ALL = (add_agent, add_events, add_knowledge, add_models, add_health)
# Import paths, as `gRPCOptions.grpc_servicer_functions` wants them.
IMPORT_PATHS = [f"{function.__module__}.{function.__name__}" for function in ALL]

"""grpc.health.v1 by service: SERVING only while everything that the service needs is ready."""

from collections.abc import Callable, Iterable
from typing import Any

from grpc_health.v1 import health_pb2

from serving.errors import InvalidRequest, NotFound
from serving.ingress.servicers import Undecodable

AGENT = "cartwright.v1.Agent"
EVENTS = "cartwright.v1.Events"
KNOWLEDGE = "cartwright.v1.Knowledge"
MODELS = "cartwright.v1.Models"


class Health:
    """Answers health checks from the readiness of models."""

    def __init__(self, needed_models: Iterable[str], can_answer: Callable[[str], bool]) -> None:
        """`can_answer` tells whether a version of a model is ready to answer."""
        everything = tuple(needed_models)
        # Knowledge and events are stored without any model; "" is the whole server.
        self._needs: dict[str, tuple[str, ...]] = {
            "": everything,
            AGENT: everything,
            EVENTS: (),
            KNOWLEDGE: (),
            MODELS: (),
        }
        self._can_answer = can_answer

    def check(self, request: Any) -> health_pb2.HealthCheckResponse:
        """State of the service named in the request.

        Raises:
            InvalidRequest: the request could not be decoded.
            NotFound: there is no such service.
        """
        if isinstance(request, Undecodable):
            raise InvalidRequest("request", request.reason)
        needs = self._needs.get(request.service)
        if needs is None:
            raise NotFound(f"service: there is no service {request.service!r}")
        serving = all(map(self._can_answer, needs))
        state = health_pb2.HealthCheckResponse
        return state(status=state.SERVING if serving else state.NOT_SERVING)

    def status(self, request: Any) -> int:
        """Like `check`, but with SERVICE_UNKNOWN for an unknown service, as Watch wants it.

        Raises:
            InvalidRequest: the request could not be decoded.
        """
        try:
            return int(self.check(request).status)
        except NotFound:
            return int(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)

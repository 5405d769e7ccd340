"""Whether gRPC calls the ingress itself, and that it is said when it cannot."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from serving.ingress import servicers

AGENT = "cartwright.v1.Agent"


class Server:
    """Takes handlers as Ray Serve's server does."""

    def __init__(self) -> None:
        self.passed_through: set[str] = set()
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, generic_handlers: Any) -> None:
        for generic in generic_handlers:
            self.handlers.update(generic._method_handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None: ...


class PassingServer(Server):
    """One that can leave a service alone."""

    def add_passthrough_service(self, name: str) -> None:
        self.passed_through.add(name)


class Methods:
    """An ingress or a servicer: any method."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, method: str) -> str:
        return f"{self.name}.{method}"


@pytest.fixture(autouse=True)
def _no_ingress() -> Iterator[None]:
    servicers._ingress = None
    yield
    servicers._ingress = None


def converse_of(server: Server) -> Any:
    handler: grpc.RpcMethodHandler = server.handlers[f"/{AGENT}/Converse"]
    return handler.unary_unary


def test_a_proxy_has_no_ingress_and_keeps_ray_serves_way() -> None:
    server = PassingServer()
    servicers.add_agent(Methods("servicer"), server)
    assert converse_of(server) == "servicer.Converse"
    assert not server.passed_through


async def test_a_replica_gets_its_calls_from_grpc_itself() -> None:
    servicers.serve_directly(Methods("ingress"))
    server = PassingServer()
    servicers.add_agent(Methods("servicer"), server)
    assert converse_of(server) == "ingress.Converse"
    assert server.passed_through == {AGENT}


async def test_a_server_that_cannot_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    servicers.serve_directly(Methods("ingress"))
    server = Server()
    servicers.add_agent(Methods("servicer"), server)
    assert converse_of(server) == "servicer.Converse"
    assert "no passthrough services" in caplog.text


def test_a_server_in_another_loop_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def replica() -> None:
        servicers.serve_directly(Methods("ingress"))

    async def start(server: Server) -> None:
        servicers.add_agent(Methods("servicer"), server)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(replica())
        server = PassingServer()
        other.run(start(server))
    assert converse_of(server) == "servicer.Converse"
    assert "another loop" in caplog.text

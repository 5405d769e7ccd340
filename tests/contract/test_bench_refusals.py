"""The load generator of bench and drill against a real server that refuses."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import grpc
import pytest

from loadtest.bench.load import Load, load_generator
from loadtest.bench.workloads import understand
from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc


class _Refusing(commerce_pb2_grpc.AgentServicer):
    def Understand(  # noqa: N802 - the name of the method in the contract
        self, request: pb.UnderstandRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")


@pytest.mark.parametrize("each", [True, False])
def test_every_refusal_is_told_with_its_time(each: bool) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    commerce_pb2_grpc.add_AgentServicer_to_server(_Refusing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    edges: list[float] = []
    try:
        load = Load(
            address=f"127.0.0.1:{port}",
            workload=understand(["hello", "and now"], {}),
            in_flight=4,
            seconds=0.5,
            warm_up_s=0.1,
            rate=40.0,
            each=each,
        )
        with load_generator() as generator:
            outcome = generator.run(load, lambda: edges.append(time.time()))
    finally:
        server.stop(grace=None).wait()
    assert outcome.refused > 5
    assert (outcome.requests, outcome.errors, outcome.answers) == (0, {}, ())
    if not each:
        assert outcome.refused_at_s == ()
        return
    assert len(outcome.refused_at_s) == outcome.refused
    # Those that were asked just before the window opened are answered within it.
    assert edges[0] - load.warm_up_s - 0.5 < min(outcome.refused_at_s)
    assert max(outcome.refused_at_s) < edges[1]

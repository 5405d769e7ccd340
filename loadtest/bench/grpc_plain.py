"""A plain grpc.aio server that calls ONNX Runtime in its own process, in a pool of threads.

What somebody would write who needs nothing but this one model: no batching, no ingress, no Ray.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from loadtest.bench.children import on_stop, say_serving
from loadtest.bench.in_process import OnnxModel, Outputs, UnderstandInProcess
from serving.models.client import Tensors
from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc

NAME = "grpc-plain"
_LOOPBACK = "127.0.0.1"
_STOP_S = 1.0


class Agent(commerce_pb2_grpc.AgentServicer):
    """The one method."""

    def __init__(self, repository: Path, threads: int) -> None:
        self._model = OnnxModel(repository, threads=1)
        self._pool = ThreadPoolExecutor(threads)
        self._understand = UnderstandInProcess(self._model, self._run)

    async def Understand(  # noqa: N802 - gRPC's name
        self, request: pb.UnderstandRequest, _context: object
    ) -> pb.UnderstandReply:
        """Meaning of one utterance."""
        return await self._understand(request.text)

    async def _run(self, inputs: Tensors) -> Outputs:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._model.run, inputs)


async def serve(repository: Path, threads: int) -> None:
    """Serves until it is told to stop; `threads` run the model, one thread each."""
    server = grpc.aio.server()
    register: Any = commerce_pb2_grpc.add_AgentServicer_to_server
    register(Agent(repository, threads), server)
    port = server.add_insecure_port(f"{_LOOPBACK}:0")
    await server.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_stop(lambda: loop.call_soon_threadsafe(stop.set))
    say_serving(f"{_LOOPBACK}:{port}")
    await stop.wait()
    await server.stop(_STOP_S)

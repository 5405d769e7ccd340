"""A real HAProxy with a configuration that Ray Serve wrote, before gRPC servers of a test."""

import asyncio
import functools
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving.edge.haproxy import LIMIT_HEADER
from serving.edge.program import write_program
from serving.runtime import LOOPBACK, free_port
from serving.settings import ServerSettings
from tests.waiting import until

APPLICATION = "shop"
_CHECK = "/grpc.health.v1.Health/Check"
_HEALTHZ = "/ray.serve.RayServeAPIService/Healthz"
# Ray Serve's own code writes the configuration; in a process of its own, for what it imports.
_WRITE = """
import sys
from ray.serve._private.common import RequestProtocol
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions, gRPCOptions
folder, application, ports = sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]
http, grpc, metrics, stats, *servers = ports
config = HAProxyConfig(
    http_options=HTTPOptions(host="127.0.0.1", port=http),
    grpc_options=gRPCOptions(port=grpc, grpc_servicer_functions=["os.getpid"]),
    metrics_port=metrics, stats_port=stats, nbthread=1, has_received_routes=True,
    socket_path=folder + "/admin.sock", server_state_base=folder,
    server_state_file=folder + "/state", enable_hap_optimization=False,
)
backends = {}
if servers:
    backends["app"] = BackendConfig(
        name="grpc-" + application, path_prefix="/", app_name=application,
        protocol=RequestProtocol.GRPC,
        servers=[ServerConfig(f"replica-{port}", "127.0.0.1", port) for port in servers],
    )
HAProxyApi(config, backends, folder + "/haproxy.cfg")._generate_config_file_internal()
"""
# Stand in for real ports in a configuration that is written once for all tests.
_MARKS = (61_001, 61_002, 61_003, 61_004)
_FIRST_SERVER = 62_001


@functools.cache
def _template(servers: int) -> tuple[str, dict[str, str]]:
    """The folder that a configuration for so many servers names, and all files there."""
    with tempfile.TemporaryDirectory() as folder:
        ports = [*_MARKS, *range(_FIRST_SERVER, _FIRST_SERVER + servers)]
        arguments = [folder, APPLICATION, *map(str, ports)]
        subprocess.run([sys.executable, "-W", "ignore", "-c", _WRITE, *arguments], check=True)
        files = (path for path in Path(folder).iterdir() if path.is_file())
        return folder, {path.name: path.read_text() for path in files}


def write_configuration(folder: Path, ports: Sequence[int], servers: Sequence[int]) -> Path:
    """Writes what Ray Serve writes for an application with these servers.

    Args:
        folder: of HAProxy's files.
        ports: of HTTP, gRPC, metrics and statistics.
        servers: their ports.
    """
    own, files = _template(len(servers))
    marks = [*_MARKS, *range(_FIRST_SERVER, _FIRST_SERVER + len(servers))]
    for name, text in files.items():
        text = text.replace(own, str(folder))
        for mark, port in zip(marks, [*ports, *servers], strict=True):
            text = text.replace(str(mark), str(port))
        (folder / name).write_text(text)
    return folder / "haproxy.cfg"


class FakeReplica:
    """Answers every method when it is told to."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.in_flight = 0
        self.may_answer = asyncio.Event()
        self._server = grpc.aio.server()
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:0")

    async def start(self) -> None:
        self._server.add_generic_rpc_handlers((_Anything(self),))
        await self._server.start()

    async def stop(self) -> None:
        self.may_answer.set()
        await self._server.stop(None)

    async def answer(self, _request: bytes, context: Any) -> bytes:
        self.in_flight += 1
        try:
            await self.may_answer.wait()
        finally:
            self.in_flight -= 1
        if self.limit is not None:
            await context.send_initial_metadata(((LIMIT_HEADER, str(self.limit)),))
        return b"done"


class _Anything(grpc.GenericRpcHandler):
    def __init__(self, replica: FakeReplica) -> None:
        self._replica = replica

    def service(self, details: Any) -> Any:
        if details.method in (_HEALTHZ, _CHECK):

            async def healthy(_request: bytes, _context: Any) -> bytes:
                return b"success"

            return grpc.unary_unary_rpc_method_handler(healthy)
        return grpc.unary_unary_rpc_method_handler(self._replica.answer)


@dataclass
class EdgeBench:
    """HAProxy in front of replicas."""

    folder: Path
    settings: ServerSettings
    replicas: list[FakeReplica]
    port: int
    metrics_port: int
    process: "asyncio.subprocess.Process | None" = None

    async def end(self) -> None:
        """Ends HAProxy."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    def channel(self) -> Any:
        """A connection of its own to HAProxy."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        return grpc.aio.insecure_channel(f"{LOOPBACK}:{self.port}", options)

    async def call(self, path: str, channel: Any) -> Any:
        """Calls a method; returns the call, which failed or not."""
        call = channel.unary_unary(path)(b"", timeout=20.0)
        with suppress(grpc.aio.AioRpcError):
            await call
        return call

    def begin(self, path: str, count: int, channel: Any) -> list["asyncio.Task[Any]"]:
        """Starts calls."""
        return [asyncio.create_task(self.call(path, channel)) for _ in range(count)]

    async def held(self, count: int) -> None:
        """Waits until so many calls are at the replicas."""
        await until(lambda: sum(r.in_flight for r in self.replicas) == count)

    async def metric(self, name: str) -> float:
        """Sum of a metric of the gRPC frontend."""

        def read() -> str:
            url = f"http://{LOOPBACK}:{self.metrics_port}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                content: bytes = answer.read()
                return content.decode()

        lines = (await asyncio.to_thread(read)).splitlines()
        wanted = f'{name}{{proxy="grpc_frontend"'
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))

    async def reload(self, servers: Sequence[FakeReplica]) -> None:
        """What Ray Serve does when replicas come and go."""
        before = self.process
        assert before is not None
        self.process = await _spawn(self, servers, "-sf", str(before.pid))
        # Without our own connections nothing holds it; with them it would wait for minutes.
        with suppress(ProcessLookupError):
            before.terminate()
        await before.wait()


async def _spawn(
    bench: EdgeBench, servers: Sequence[FakeReplica], *arguments: str
) -> "asyncio.subprocess.Process":
    # The last one is new each time, so that nobody but the new process answers there.
    ports = (free_port(), bench.port, bench.metrics_port, free_port())
    config = await asyncio.to_thread(
        write_configuration, bench.folder, ports, [replica.port for replica in servers]
    )
    program = write_program(bench.folder / "haproxy", APPLICATION, bench.settings)
    with (bench.folder / "haproxy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            str(program), "-db", "-f", str(config), *arguments, stderr=log
        )

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, ports[-1])
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def healthy() -> bool:
        async with bench.channel() as channel:
            call = channel.unary_unary(_CHECK)(b"", timeout=5.0)
            return await call.code() is grpc.StatusCode.OK

    await until(listens)
    if servers:
        await until(healthy)
    return process


@asynccontextmanager
async def edge_bench(
    folder: Path, replicas: int = 1, **admission: float
) -> AsyncIterator[EdgeBench]:
    """Runs HAProxy for the length of the block; ends it by its pid."""
    async with AsyncExitStack() as cleanup:
        behind = [FakeReplica() for _ in range(replicas)]
        for replica in behind:
            await replica.start()
            cleanup.push_async_callback(replica.stop)
        bench = EdgeBench(
            folder=folder,
            settings=ServerSettings.model_validate({"admission": admission}),
            replicas=behind,
            port=free_port(),
            metrics_port=free_port(),
        )
        cleanup.push_async_callback(bench.end)
        bench.process = await _spawn(bench, behind)
        yield bench

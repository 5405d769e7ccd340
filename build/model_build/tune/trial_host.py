"""A tritonserver for trials: one published version, hosted in many ways under as many names.

<scratch>/models/<model>.<version>-<label>/config.pbtxt     the point's configuration
<scratch>/models/<model>.<version>-<label>/<version> ──▶    the published version folder
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from google.protobuf import text_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from model_build.serving_profile import TunedHosting
from model_build.spec import ModelSpec
from model_build.trial_server import launch_trial_server
from model_build.triton_config import FILE_NAME, config_of
from model_build.tune.figures import Look
from model_build.tune.host import PointFailed
from model_build.tune.load import apply_load
from model_build.tune.requests import Body, addressed
from model_build.tune.schedule import LEAD_IN_S
from serving.errors import ModelContractViolated
from serving.models.repository import PublishedVersion
from serving.settings import TritonSettings
from serving.triton.control import LoadRefused, ProbeFailed
from serving.triton.server import Server
from serving.triton.tensors import TensorContract

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_LOAD_TIMEOUT_S = 120.0
_CALL_TIMEOUT_S = 30.0
# Of the memory that is free at first, so much is filled with idle points.
_MEMORY_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class _Meter:
    """Counters at one moment."""

    server_cpu_s: float
    instances_cpu_s: float
    generator_cpu_s: float
    # Rows of a batch -> batches run so far.
    batches: dict[int, int]


class TrialHost:
    """A running server without models at first. Made by `open_host`."""

    def __init__(
        self,
        server: Server,
        models: Path,
        spec: ModelSpec,
        version: PublishedVersion,
        bodies: Sequence[Body],
        memory_share: float,
    ) -> None:
        self._server = server
        self._models = models
        self._spec = spec
        self._version = version
        self._contract = TensorContract(version.manifest)
        self._bodies = bodies
        self._began_s = time.perf_counter()
        self._channel: Any = grpc.aio.insecure_channel(server.url)
        # Bytes in, bytes out: the generator must cost little.
        self._infer: Any = self._channel.unary_unary(_INFER)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # Memory of what is loaded, in bytes, in the order of its last use.
        self._loaded: dict[TunedHosting, int] = {}
        self._spare_bytes = psutil.virtual_memory().available * memory_share

    async def close(self) -> None:
        """Closes the connection; the server is not ended."""
        await self._channel.close()

    @property
    def loaded(self) -> tuple[TunedHosting, ...]:
        """Points that are loaded; the one that was not used for longest comes first."""
        return tuple(self._loaded)

    @property
    def now_s(self) -> float:
        """Seconds since the server was up."""
        return time.perf_counter() - self._began_s

    async def server_version(self) -> str:
        """Version of the program."""
        reply = await self._stub.ServerMetadata(service_pb2.ServerMetadataRequest())
        return str(reply.version)

    async def load(self, point: TunedHosting) -> None:
        """Loads the model as the point says and has it answer once; nothing if it is loaded.

        Points stay loaded, as idle instances cost nothing but memory and their end takes a second
        each. If memory runs short, those make room that were not used for longest.

        Raises:
            PointFailed: the server refuses it, or it does not answer as the manifest promises.
            ServerLost: the server ended.
        """
        if point in self._loaded:
            self._loaded[point] = self._loaded.pop(point)
            return
        while self._loaded and sum(self._loaded.values()) > self._spare_bytes:
            await self._unload(next(iter(self._loaded)))
        name = self._name(point)
        folder = self._models / name
        if not folder.is_dir():
            folder.mkdir()
            config = config_of(self._spec, tuned=point)
            config.name = name
            (folder / FILE_NAME).write_text(text_format.MessageToString(config), encoding="utf-8")
            (folder / str(self._version.manifest.version)).symlink_to(
                self._version.folder.resolve(), target_is_directory=True
            )
        try:
            await self._server.while_running(self._server.control.load(name, _LOAD_TIMEOUT_S))
            await self._server.while_running(self._check_answer(name))
            self._loaded[point] = sum(map(_memory_bytes, self._instances(point)))
        except (LoadRefused, ProbeFailed, ModelContractViolated, psutil.Error) as error:
            raise PointFailed(str(error)) from error

    async def _unload(self, point: TunedHosting) -> None:
        """Unloads a loaded point and waits until its instances are gone.

        Their end costs CPU time, which the next look must not pay.
        """
        processes = self._processes(point)
        del self._loaded[point]
        try:
            await self._server.while_running(
                self._server.control.unload(self._name(point), _LOAD_TIMEOUT_S)
            )
        except ProbeFailed as error:
            raise PointFailed(f"{point.label} cannot be unloaded: {error}") from error
        await asyncio.to_thread(psutil.wait_procs, processes, _CALL_TIMEOUT_S)

    async def look(self, point: TunedHosting, concurrency: int, seconds: float) -> Look:
        """Measures a loaded point.

        Raises:
            PointFailed: not one request was answered, an instance died, or the server does not
                tell what it did.
            ServerLost: the server ended.
        """
        try:
            return await self._look(point, concurrency, seconds)
        except psutil.Error as error:
            raise PointFailed(f"an instance died: {error}") from error
        except grpc.aio.AioRpcError as error:
            raise PointFailed(f"no statistics: {error.code().name}: {error.details()}") from error

    async def _look(self, point: TunedHosting, concurrency: int, seconds: float) -> Look:
        name = self._name(point)
        server = psutil.Process(self._server.process.pid)
        instances = self._instances(point)

        async def call(request: bytes) -> bytes:
            reply: bytes = await self._infer(request, timeout=_CALL_TIMEOUT_S)
            return reply

        async def meter() -> _Meter:
            return _Meter(
                server_cpu_s=_cpu_s([server]),
                instances_cpu_s=_cpu_s(instances),
                generator_cpu_s=time.process_time(),
                batches=await self._batches(name),
            )

        result = await self._server.while_running(
            apply_load(
                call,
                [addressed(body, name) for body in self._bodies],
                concurrency,
                LEAD_IN_S,
                seconds,
                meter,
            )
        )
        at_s = self.now_s - seconds / 2
        if not result.latencies_s:
            reason = result.errors[0] if result.errors else f"no answer within {seconds:.1f} s"
            raise PointFailed(reason)
        p50_s, p99_s = np.percentile(np.array(result.latencies_s), (50, 99))
        before, after = result.before, result.after
        per_request = 1000.0 / max(1, result.answered)
        return Look(
            at_s=at_s,
            concurrency=concurrency,
            requests=result.answered,
            errors=len(result.errors),
            requests_per_s=result.answered / result.seconds,
            p50_ms=float(p50_s) * 1000.0,
            p99_ms=float(p99_s) * 1000.0,
            server_cpu_ms=(after.server_cpu_s - before.server_cpu_s) * per_request,
            instances_cpu_ms=(after.instances_cpu_s - before.instances_cpu_s) * per_request,
            generator_cpu_ms=(after.generator_cpu_s - before.generator_cpu_s) * per_request,
            batches={
                rows: count - before.batches.get(rows, 0)
                for rows, count in after.batches.items()
                if count > before.batches.get(rows, 0)
            },
            memory_mib=sum(_memory_bytes(instance) for instance in instances) / 2**20,
        )

    def _name(self, point: TunedHosting) -> str:
        return f"{self._spec.name}.{self._version.manifest.version}-{point.label}"

    def _instances(self, point: TunedHosting) -> list[psutil.Process]:
        """The processes in which a point's instances run.

        Raises:
            PointFailed: there are not as many as the point says.
        """
        found = self._processes(point)
        if len(found) != point.instances:
            raise PointFailed(f"{len(found)} instances run, {point.instances} were asked for")
        return found

    def _processes(self, point: TunedHosting) -> list[psutil.Process]:
        """The server's children whose first argument lies in the point's folder."""
        folder = self._models / self._name(point)
        return [
            child
            for child in psutil.Process(self._server.process.pid).children()
            if any(Path(word).is_relative_to(folder) for word in child.cmdline()[1:2])
        ]

    async def _batches(self, name: str) -> dict[int, int]:
        reply = await self._stub.ModelStatistics(
            service_pb2.ModelStatisticsRequest(name=name), timeout=_CALL_TIMEOUT_S
        )
        return {
            int(batch.batch_size): int(batch.compute_infer.count)
            for statistics in reply.model_stats
            for batch in statistics.batch_stats
        }

    async def _check_answer(self, name: str) -> None:
        """Has the model answer the first request, and compares the tensors with the manifest."""
        request = service_pb2.ModelInferRequest.FromString(addressed(self._bodies[0], name))
        rows = int(request.inputs[0].shape[0])
        try:
            reply = await self._stub.ModelInfer(request, timeout=_CALL_TIMEOUT_S)
            self._contract.read_outputs(reply, rows)
        except grpc.aio.AioRpcError as error:
            raise PointFailed(f"{error.code().name}: {error.details()}") from error


@asynccontextmanager
async def open_host(
    settings: TritonSettings,
    scratch: Path,
    spec: ModelSpec,
    version: PublishedVersion,
    bodies: Sequence[Body],
    memory_share: float = _MEMORY_SHARE,
) -> AsyncIterator[TrialHost]:
    """Starts a server in the folder `scratch`, and ends it.

    Args:
        settings: where tritonserver is.
        scratch: an empty folder; the server's log and the temporary repository go there.
        spec: the model.
        version: what is hosted.
        bodies: requests for it.
        memory_share: of the memory that is free now, so much may be filled with idle points.

    Raises:
        StartupError: there is no tritonserver that can run here, or the version is corrupt.
        ServerLost: it ended at once.
    """
    models = scratch / "models"
    models.mkdir()
    await asyncio.to_thread(version.verify)
    server = await launch_trial_server(settings, scratch, models, "tune")
    try:
        host = TrialHost(server, models, spec, version, bodies, memory_share)
        try:
            yield host
        finally:
            await host.close()
    finally:
        # Nothing is under way that could be lost, and a tidy end takes a second an instance.
        await server.discard()


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


def _memory_bytes(process: psutil.Process) -> int:
    """Its memory, with what is shared counted in equal parts."""
    return int(process.memory_full_info().pss)

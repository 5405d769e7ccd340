"""A real tritonserver with tiny models and a client that found it, for tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.models.version import ModelVersion
from serving.settings import CoalescingSettings, TelemetrySettings, TritonSettings
from serving.triton.client import TritonModelClient
from serving.triton.connection import TritonConnection
from serving.triton.control import ServerControl
from serving.triton.discovery import HostDirectory, HostRecord, HostRegistry
from serving.triton.host import TritonHost
from tests.one_version_each import OneVersionEach
from tests.tiny_models import manifest, publish_tiny_models

ONES = np.ones((1, 4), np.float32)


@dataclass(frozen=True)
class Served:
    """A host with the tiny models, and a client that found it."""

    host: TritonHost
    client: OneVersionEach
    directory: HostDirectory
    connection: TritonConnection
    control: ServerControl
    stub: Any

    async def statistics(self, model: str) -> Any:
        request = service_pb2.ModelStatisticsRequest(name=f"{model}.1")
        return (await self.stub.ModelStatistics(request)).model_stats[0]

    async def pending(self, model: str) -> int:
        """Requests that wait for their execution."""
        lines = await self._metrics()
        pending = f'nv_inference_pending_request_count{{model="{model}.1",version="1"}} '
        return next(int(line.split()[-1]) for line in lines if line.startswith(pending))

    async def _metrics(self) -> list[str]:
        address = self.host.record.metrics_url.removeprefix("http://").partition("/")[0]
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        body = await reader.read()
        writer.close()
        await writer.wait_closed()
        return body.decode().splitlines()


@asynccontextmanager
async def hosted(
    folder: Path, models: Sequence[str], telemetry: TelemetrySettings | None = None
) -> AsyncIterator[Served]:
    """A host with these of the tiny models; its client also knows a model that no host has."""
    manifests = publish_tiny_models(folder / "models")
    manifests["missing"] = manifest("missing")
    settings = TritonSettings(
        models=tuple(models),
        model_repository=folder / "models",
        log_folder=folder / "log",
        cache_folder=folder / "cache",
        probe_period_s=0.2,
    )
    registry = HostRegistry()

    async def publish(record: HostRecord) -> None:
        registry.publish(record)

    host = TritonHost(settings, "host-1", publish, telemetry)
    await host.start()
    connection = TritonConnection(host.record.url)
    channel = grpc.aio.insecure_channel(host.record.url)
    control = ServerControl(host.record.url)
    async with HostDirectory(registry.changes) as directory:
        limits = CoalescingSettings(max_under_way=500, max_waiting=500)
        client = OneVersionEach(TritonModelClient(directory, limits), manifests.values())
        versions = [ModelVersion(model, 1) for model in models]
        await directory.wait_until(lambda _: all(map(directory.hosts_with, versions)), 10.0)
        yield Served(
            host=host,
            client=client,
            directory=directory,
            connection=connection,
            control=control,
            stub=service_pb2_grpc.GRPCInferenceServiceStub(channel),
        )
        await client.close()
    await connection.close()
    await control.close()
    await channel.close()
    await host.stop()


def context(milliseconds: float = 20_000.0) -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(milliseconds))


def raw(
    model: str, x: NDArray[Any], *, name: str = "x", dtype: str = "FP32", version: str = ""
) -> Any:
    """A request to version 1 that no contract has checked."""
    request = service_pb2.ModelInferRequest(model_name=f"{model}.1", model_version=version)
    request.inputs.add(name=name, datatype=dtype).shape.extend(x.shape)
    request.raw_input_contents.append(x.tobytes())
    return request

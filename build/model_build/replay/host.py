"""Two versions of a model side by side on one tritonserver, each asked by its number.

<scratch>/models/<model>.<version>/config.pbtxt    as in use, with the version's own outputs
<scratch>/models/<model>.<version>/<version> ──▶   the published version folder
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from model_build.serving_profile import TunedHosting
from model_build.spec import ModelSpec
from model_build.trial_server import launch_trial_server
from model_build.triton_config import FILE_NAME, config_of
from serving.context import RequestContext
from serving.errors import StartupError
from serving.models.client import ModelOutput, Tensors
from serving.models.manifest import ModelManifest
from serving.models.repository import PublishedVersion
from serving.models.version import ModelVersion
from serving.settings import TritonSettings
from serving.triton.connection import TritonConnection
from serving.triton.control import LoadRefused, ProbeFailed
from serving.triton.served import config_of_version, served_name
from serving.triton.server import Server
from serving.triton.tensors import TensorContract

_LOAD_TIMEOUT_S = 120.0
_CALL_TIMEOUT_S = 10.0


class VersionClient:
    """A `ModelClient` that asks one version on one host."""

    def __init__(self, connection: TritonConnection, manifest: ModelManifest) -> None:
        self._connection = connection
        self._contract = TensorContract(manifest)
        self._version = manifest.version
        self._served_name = _served_name(manifest)

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`."""
        rows = self._contract.check_inputs(inputs)
        request = service_pb2.ModelInferRequest(model_name=self._served_name)
        self._contract.write_inputs(inputs, request)
        response = await self._connection.infer(request, rows, context)
        tensors = self._contract.read_outputs(response, rows)
        context.model_versions[model] = self._version
        return ModelOutput(tensors=tensors, version=self._version)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A running server with the versions loaded."""

    server: Server
    # Of the program.
    tritonserver: str
    # In the order in which the versions were given.
    clients: tuple[VersionClient, ...]


@asynccontextmanager
async def host_versions(
    settings: TritonSettings,
    scratch: Path,
    spec: ModelSpec,
    hosting: TunedHosting,
    versions: Sequence[PublishedVersion],
) -> AsyncIterator[Trial]:
    """Starts a server in the folder `scratch` with all of the versions, and ends it.

    Args:
        settings: where tritonserver is.
        scratch: an empty folder; the server's log and the temporary repository go there.
        spec: the model.
        hosting: of each version.
        versions: of that model; each number once.

    Raises:
        StartupError: there is no tritonserver that can run here, or a version is corrupt or cannot
            be loaded.
        ServerLost: the server ended.
    """
    models = scratch / "models"
    models.mkdir()
    for version in versions:
        await asyncio.to_thread(version.verify)
        _offer(models, spec, hosting, version)
    async with AsyncExitStack() as opened:
        server = await launch_trial_server(settings, scratch, models, "replay")
        opened.push_async_callback(server.discard)
        for version in versions:
            await server.while_running(_load(server, _served_name(version.manifest)))
        connection = TritonConnection(server.url)
        opened.push_async_callback(connection.close)
        yield Trial(
            server=server,
            tritonserver=await server.while_running(_program_version(server.url)),
            clients=tuple(VersionClient(connection, version.manifest) for version in versions),
        )


def _served_name(manifest: ModelManifest) -> str:
    return served_name(ModelVersion(manifest.model, manifest.version))


def _offer(models: Path, spec: ModelSpec, hosting: TunedHosting, version: PublishedVersion) -> None:
    """Puts a version into the temporary repository as a model of its own."""
    manifest = version.manifest
    config = config_of_version(config_of(spec, tuned=hosting), manifest, _served_name(manifest))
    folder = models / config.name
    folder.mkdir()
    (folder / FILE_NAME).write_text(text_format.MessageToString(config), encoding="utf-8")
    (folder / str(manifest.version)).symlink_to(version.folder.resolve(), target_is_directory=True)


async def _load(server: Server, name: str) -> None:
    try:
        await server.control.load(name, _LOAD_TIMEOUT_S)
    except LoadRefused as error:
        raise StartupError(f"model {name}: Triton cannot load it: {error}") from error
    except ProbeFailed as error:
        raise StartupError(f"{name}: tritonserver did not load it: {error}") from error


async def _program_version(url: str) -> str:
    async with grpc.aio.insecure_channel(url) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        reply = await stub.ServerMetadata(
            service_pb2.ServerMetadataRequest(), timeout=_CALL_TIMEOUT_S
        )
        return str(reply.version)

"""Control of one server over gRPC: is it up, which models are ready, load, unload."""

from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

# A server on this machine comes up within a second; there is no crowd to spread out.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)
_READY = "READY"
_NO_ANSWER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


class ProbeFailed(Exception):
    """The server did not answer a probe; the text says how."""


class LoadRefused(Exception):
    """The server cannot load a model; the text is its reason."""


class ServerControl:
    """Talks to the server at `url` (host:port of its gRPC endpoint). Close it after use."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._channel: Any = grpc.aio.insecure_channel(url, options=_OPTIONS)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def server_name(self, timeout_s: float) -> str:
        """The id of the server that listens there; waits until one does.

        Raises:
            ProbeFailed: none answers in time, or what answers is no tritonserver.
        """
        try:
            reply = await self._stub.ServerMetadata(
                service_pb2.ServerMetadataRequest(), timeout=timeout_s, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise ProbeFailed(_describe(error)) from error
        return str(reply.name)

    async def ready_models(self, timeout_s: float) -> dict[str, tuple[int, ...]]:
        """Models that are ready by Triton's names, with their ready versions in rising order.

        Raises:
            ProbeFailed: no answer in time.
        """
        request = service_pb2.RepositoryIndexRequest(ready=True)
        try:
            reply = await self._stub.RepositoryIndex(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise ProbeFailed(_describe(error)) from error
        ready: dict[str, list[int]] = {}
        for entry in reply.models:
            if entry.state == _READY:
                ready.setdefault(entry.name, []).append(int(entry.version))
        return {name: tuple(sorted(versions)) for name, versions in ready.items()}

    async def load(self, model: str, timeout_s: float, config: str | None = None) -> None:
        """Loads the version that the model's version policy chooses; does nothing if it is loaded.

        Args:
            model: Triton's name.
            timeout_s: for all of it.
            config: ModelConfig as JSON, to use instead of the one in the repository. One that
                differs from the loaded one's only in the number of instances leaves those be.

        Raises:
            LoadRefused: the server cannot.
            ProbeFailed: the server did not answer.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        if config is not None:
            request.parameters["config"].string_param = config
        try:
            await self._stub.RepositoryModelLoad(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in _NO_ANSWER:
                raise ProbeFailed(_describe(error)) from error
            raise LoadRefused(_reason(error.details() or "")) from error

    async def unload(self, model: str, timeout_s: float) -> None:
        """Unloads every version; requests under way are finished.

        Raises:
            ProbeFailed: no answer in time.
        """
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        try:
            await self._stub.RepositoryModelUnload(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise ProbeFailed(_describe(error)) from error


def _describe(error: Any) -> str:
    return f"{error.code().name}: {error.details()}"


def _reason(details: str) -> str:
    """Triton's reason in one line, without the places in our backend's Python."""
    return " ".join(details.split("\n\nAt:\n")[0].split())

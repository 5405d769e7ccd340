"""Applications for Ray Serve, written the way its documentation would; they run in its replicas."""

from pathlib import Path
from typing import Any

from ray import serve

from loadtest.bench.in_process import OnnxModel, Outputs, UnderstandInProcess
from serving.models.client import Tensors
from serving.protos import commerce_pb2 as pb

# Ray Serve's own default for a batch's size is 10.
BATCH = 32
_ECHOED = pb.UnderstandReply(understanding=pb.Understanding(intent="echo"))


class Plain:
    """Runs the model in the handler."""

    def __init__(self, repository: str) -> None:
        self._model = OnnxModel(Path(repository), threads=0)
        self._understand = UnderstandInProcess(self._model, self._run)

    async def Understand(self, request: pb.UnderstandRequest) -> pb.UnderstandReply:  # noqa: N802
        """Meaning of one utterance."""
        return await self._understand(request.text)

    async def _run(self, inputs: Tensors) -> Outputs:
        return self._model.run(inputs)


class Batched:
    """Runs the model on what `serve.batch` gathers."""

    def __init__(self, repository: str) -> None:
        self._model = OnnxModel(Path(repository), threads=0)
        self._understand = UnderstandInProcess(self._model, self._run)

    async def Understand(self, request: pb.UnderstandRequest) -> pb.UnderstandReply:  # noqa: N802
        """Meaning of one utterance."""
        return await self._understand(request.text)

    async def _run(self, inputs: Tensors) -> Outputs:
        outputs: Outputs = await self._run_batch(inputs)
        return outputs

    @serve.batch(max_batch_size=BATCH)  # type: ignore[untyped-decorator]
    async def _run_batch(self, batch: list[Tensors]) -> list[Outputs]:
        return self._model.run_many(batch)


class Echo:
    """Answers at once, with nothing."""

    async def Understand(self, _request: pb.UnderstandRequest) -> pb.UnderstandReply:  # noqa: N802
        """Always the same."""
        return _ECHOED


def application(kind: type, name: str, *arguments: Any, **options: Any) -> Any:
    """A deployment with one replica unless `options` say otherwise."""
    return serve.deployment(kind, name=name, **options).bind(*arguments)

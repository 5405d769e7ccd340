"""The pipeline of Understand with ONNX Runtime in the same process instead of Triton.

Tokenizer, decoding and reply are the stack's own, so that a comparison is about serving alone.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.bench.artifacts import MODEL, understanding_files
from loadtest.bench.limit import open_session
from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import ModelContractViolated
from serving.ingress import encode
from serving.models.client import ModelOutput, Tensors
from serving.models.tokenizer import Tokenizer
from serving.protos import commerce_pb2 as pb
from serving.steps.understand import Understand, UnderstandingLabels, UnderstandInput

_DEADLINE_MS = 10_000.0

Outputs = dict[str, NDArray[Any]]
Run = Callable[[Tensors], Awaitable[Outputs]]


class OnnxModel:
    """The served file in this process. `run` may be called from several threads."""

    def __init__(self, repository: Path, threads: int) -> None:
        """Opens it; `threads` of 0 leaves their number to ONNX Runtime."""
        self.files = understanding_files(repository)
        self._session = open_session(self.files.artifacts[self.files.served], threads)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Tensors) -> Outputs:
        """One batch."""
        outputs = self._session.run(self._names, dict(inputs))
        return dict(zip(self._names, outputs, strict=True))

    def run_many(self, requests: Sequence[Tensors]) -> list[Outputs]:
        """Requests of one row each, padded to the longest and run together."""
        longest = max(inputs["input_ids"].shape[1] for inputs in requests)
        joined = {
            name: np.concatenate([_padded(inputs[name], longest) for inputs in requests])
            for name in requests[0]
        }
        outputs = self.run(joined)
        return [
            {
                name: _cut(values[row : row + 1], inputs["input_ids"].shape[1], longest)
                for name, values in outputs.items()
            }
            for row, inputs in enumerate(requests)
        ]


class UnderstandInProcess:
    """Utterance in, reply out."""

    def __init__(self, model: OnnxModel, run: Run) -> None:
        """`run` is how the model is asked: at once, in a thread, in a batch with others."""
        files = model.files
        self._step = Understand(
            _Client(run, files.version),
            Tokenizer.from_file(files.tokenizer, files.max_length),
            read_labels(files.folder),
        )

    async def __call__(self, text: str) -> pb.UnderstandReply:
        """Understands one utterance."""
        context = RequestContext(deadline=Deadline.after_ms(_DEADLINE_MS))
        understanding = await self._step(UnderstandInput(text=text), context)
        return pb.UnderstandReply(
            understanding=encode.understanding(understanding), meta=encode.meta(context.report())
        )


class _Client:
    """A `ModelClient` for the one model."""

    def __init__(self, run: Run, version: int) -> None:
        self._run = run
        self._version = version

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        if model != MODEL:
            raise ModelContractViolated(f"there is no model {model!r} in this process")
        context.model_versions[model] = self._version
        return ModelOutput(tensors=await self._run(inputs), version=self._version)


def read_labels(folder: Path) -> UnderstandingLabels:
    """`labels.json` of a published version."""
    values = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return UnderstandingLabels(
        intents=tuple(values["intents"]),
        slot_tags=tuple(values["slot_tags"]),
        sentiments=tuple(values["sentiments"]),
        intent_temperature=float(values["intent_temperature"]),
        out_of_scope_temperature=float(values["out_of_scope_temperature"]),
        max_length=int(values["max_length"]),
    )


def _padded(values: NDArray[Any], length: int) -> NDArray[Any]:
    return np.pad(values, ((0, 0), (0, length - values.shape[1])))


def _cut(values: NDArray[Any], length: int, longest: int) -> NDArray[Any]:
    """Without the columns of the padding, where there is a column for each token."""
    return values[:, :length] if values.ndim == 3 and values.shape[1] == longest else values

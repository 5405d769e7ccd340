"""Ready requests for a model: tensors of real length, serialised before anything is measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from model_build.spec import ModelSpec
from model_build.specs.candidates import TOP_K
from model_build.specs.tokens import TOKEN_INPUTS
from serving.errors import StartupError
from serving.models.repository import PublishedVersion
from serving.models.tokenizer import Tokenizer

# Serialised tensors of one request, without the name of the model.
Body = bytes

# Rows that one request of a pipeline brings, where it is not one.
_ROWS = {"ranker": TOP_K}
_DISTINCT = 256


def usual_rows(spec: ModelSpec) -> int:
    """Rows that a request of the pipelines brings to a model."""
    return min(_ROWS.get(spec.name, 1), spec.max_batch_size)


def takes_text(spec: ModelSpec) -> bool:
    """Whether a model's inputs are tokens."""
    return spec.inputs == TOKEN_INPUTS


def read_texts(shop: Path, texts: Path | None) -> list[str]:
    """Utterances to make requests of: lines of a file, or the held-out ones of a shop.

    Raises:
        StartupError: there are none; names the file.
    """
    path = texts or shop / "held_out.jsonl"
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if texts is None:
            records = [json.loads(line) for line in lines]
            lines = [str(r["text"]) for r in records if r["kind"] == "utterance"]
    except OSError as error:
        raise StartupError(
            f"{path}: cannot be read: {error.strerror}; run `cartwright models build`, or give a "
            "file of texts with --texts"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StartupError(f"{path}: not a list of held-out utterances: {error!r}") from error
    if not lines:
        raise StartupError(f"{path}: has no texts")
    return lines


def make_bodies(
    spec: ModelSpec,
    version: PublishedVersion,
    rows: int,
    texts: Sequence[str],
    rng: np.random.Generator,
) -> list[Body]:
    """Requests of `rows` rows each, in random order.

    Args:
        spec: the model.
        version: the version to be served; its tokenizer is used.
        rows: of each request.
        texts: for models that take text; other models get the spec's sample inputs.
        rng: chooses and shuffles.

    Raises:
        StartupError: the version has no usable tokenizer.
    """
    if not takes_text(spec):
        return [serialise(spec, spec.sample_inputs(rng, rows)) for _ in range(_DISTINCT)]
    tokenizer = Tokenizer.from_file(
        version.asset_path("tokenizer.json"), version.manifest.config["max_length"]
    )
    chosen = rng.permutation(len(texts))
    wanted = min(len(texts), _DISTINCT * rows)
    # As a client would that gathers texts: those of similar length travel together.
    order = sorted((int(i) for i in chosen[:wanted]), key=lambda i: len(texts[i]))
    groups = [order[i : i + rows] for i in range(0, len(order) - rows + 1, rows)]
    if not groups:
        raise StartupError(f"{len(texts)} texts are too few for requests of {rows} rows")
    return [
        serialise(spec, tokenizer.encode([texts[i] for i in groups[g]]).inputs())
        for g in rng.permutation(len(groups))
    ]


def serialise(spec: ModelSpec, arrays: dict[str, NDArray[Any]]) -> Body:
    """The tensors (axis 0 is the batch) as the inputs of a `ModelInferRequest`."""
    spec.check(arrays, spec.inputs)
    request = service_pb2.ModelInferRequest()
    for tensor in spec.inputs:
        array = arrays[tensor.name]
        request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    body: bytes = request.SerializeToString()
    return body


def addressed(body: Body, model: str) -> bytes:
    """A whole request: serialised messages may be joined field by field."""
    head: bytes = service_pb2.ModelInferRequest(model_name=model).SerializeToString()
    return head + body

"""Tensors on the wire: checked against the model's manifest, then raw bytes in row-major order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import ModelContractViolated
from serving.models.client import Tensors
from serving.models.manifest import DType, ModelManifest

NUMPY_DTYPES: Mapping[DType, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "BOOL": np.dtype("?"),
}


class TensorContract:
    """Inputs and outputs of one model; the batch is axis 0 of every tensor."""

    def __init__(self, manifest: ModelManifest) -> None:
        self._model = manifest.model
        self._max_batch_size = manifest.max_batch_size
        self._inputs = {spec.name: (spec, NUMPY_DTYPES[spec.dtype]) for spec in manifest.inputs}
        self._outputs = {spec.name: (spec, NUMPY_DTYPES[spec.dtype]) for spec in manifest.outputs}

    @property
    def max_batch_size(self) -> int:
        """Rows that one request may have."""
        return self._max_batch_size

    def check_inputs(self, inputs: Tensors) -> int:
        """The number of rows of tensors that fit the manifest.

        Raises:
            ModelContractViolated: a name, dtype or shape differs from the manifest's; says which,
                what was wanted and what was given.
        """
        if inputs.keys() != self._inputs.keys():
            raise self._violated("inputs", sorted(self._inputs), sorted(inputs))
        rows = -1
        for name, (spec, dtype) in self._inputs.items():
            array = inputs[name]
            shape = array.shape
            if rows < 0 and shape:
                rows = shape[0]
            if array.dtype != dtype or not _fits(shape, spec.dims, rows):
                wanted = _describe(spec.dtype, (rows if rows > 0 else -1, *spec.dims))
                raise self._violated(f"input {name}", wanted, _describe(str(array.dtype), shape))
        if not 0 < rows <= self._max_batch_size:
            raise self._violated("batch", f"1 to {self._max_batch_size} rows", f"{rows} rows")
        return rows

    def write_inputs(self, inputs: Tensors, request: Any) -> None:
        """Adds tensors that have been checked to a `ModelInferRequest`."""
        for name, (spec, _) in self._inputs.items():
            array = inputs[name]
            request.inputs.add(name=name, datatype=spec.dtype, shape=array.shape)
            request.raw_input_contents.append(array.tobytes())

    def read_outputs(self, response: Any, rows: int) -> dict[str, NDArray[Any]]:
        """The tensors of a `ModelInferResponse`; read-only views of its bytes.

        Raises:
            ModelContractViolated: the model answered with something else than its manifest says.
        """
        names = [tensor.name for tensor in response.outputs]
        if len(names) != len(self._outputs) or set(names) != self._outputs.keys():
            raise self._violated("outputs", sorted(self._outputs), sorted(names))
        if len(response.raw_output_contents) != len(names):
            raise self._violated(
                "outputs", f"{len(names)} buffers", f"{len(response.raw_output_contents)} buffers"
            )
        tensors: dict[str, NDArray[Any]] = {}
        for tensor, content in zip(response.outputs, response.raw_output_contents, strict=True):
            spec, dtype = self._outputs[tensor.name]
            shape = tuple(tensor.shape)
            if tensor.datatype != spec.dtype or not _fits(shape, spec.dims, rows):
                wanted = _describe(spec.dtype, (rows, *spec.dims))
                got = _describe(tensor.datatype, shape)
                raise self._violated(f"output {tensor.name}", wanted, got)
            size_bytes = math.prod(shape) * dtype.itemsize
            if len(content) != size_bytes:
                raise self._violated(
                    f"output {tensor.name}", f"{size_bytes} bytes", f"{len(content)} bytes"
                )
            tensors[tensor.name] = np.frombuffer(content, dtype).reshape(shape)
        return tensors

    def _violated(self, what: str, wanted: object, got: object) -> ModelContractViolated:
        return ModelContractViolated(f"model {self._model}: {what}: wanted {wanted}, got {got}")


def _fits(shape: Sequence[int], dims: Sequence[int], rows: int) -> bool:
    """Whether `shape` is (rows, *dims), where -1 in `dims` stands for any positive size."""
    if len(shape) != len(dims) + 1 or shape[0] != rows:
        return False
    return all(
        size == dim or (dim == -1 and size > 0) for size, dim in zip(shape[1:], dims, strict=True)
    )


def _describe(dtype: str, shape: Sequence[int]) -> str:
    """E.g. FP32[2,?,13]."""
    return f"{dtype}[{','.join('?' if size == -1 else str(size) for size in shape)}]"

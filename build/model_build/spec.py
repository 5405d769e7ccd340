"""ModelSpec: everything that is fixed about a model, written once.

From it come the ONNX export, `config.pbtxt`, the parity check, the warm-up and, through the
manifest, the shape checks of the serving client.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.models.manifest import TensorSpec

Arrays = Mapping[str, NDArray[Any]]
Target = Literal["cpu", "gpu"]
TARGETS: tuple[Target, ...] = ("cpu", "gpu")
ArtifactKind = Literal["onnx", "onnx-int8"]
# Runs one batch: inputs by name -> outputs by name.
Run = Callable[[Arrays], dict[str, NDArray[Any]]]
# Makes a batch of `size` plausible inputs; the same generator state gives the same batch.
SampleInputs = Callable[[np.random.Generator, int], dict[str, NDArray[Any]]]


@dataclass(frozen=True, kw_only=True)
class InstanceGroup:
    """How many copies of a model a host runs, and with how many threads each."""

    count: int
    kind: Literal["KIND_CPU", "KIND_GPU"] = "KIND_CPU"
    # Threads of one copy on the CPU.
    intra_op_threads: int = 1


@dataclass(frozen=True, kw_only=True)
class BatchingPolicy:
    """Triton's dynamic batcher and its queue."""

    # How long a request may wait for others to join its batch. 0: whatever waits already joins.
    max_queue_delay_microseconds: int
    # Requests that may wait; one more is refused at once. None: no queue policy at all, neither a
    # bound (the client keeps one) nor timeouts of the queue's own.
    max_queue_size: int | None


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """How a model is hosted on one kind of machine."""

    instances: InstanceGroup
    batching: BatchingPolicy
    # Served if it passes its parity check, else the fp32 export.
    preferred_artifact: ArtifactKind = "onnx"


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """What an artifact must keep to, compared with its source on held-out samples.

    A figure is a share or a cosine in [0, 1] that the parity check computes by name.
    """

    # Largest absolute difference allowed, by output tensor.
    max_abs_difference: Mapping[str, float] = field(default_factory=dict)
    # Smallest value allowed, by figure.
    at_least: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model. Dimensions are without the batch axis; -1 is a free dimension."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    # Free dimensions by their symbol: {"length": (("input_ids", 1), …)}; axis 0 is the batch.
    dynamic_axes: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    # By artifact kind: bounds on the artifact against its source.
    tolerances: Mapping[ArtifactKind, Tolerances]
    hosting: Mapping[Target, Hosting]
    sample_inputs: SampleInputs
    # Batch sizes that a host runs once before the model is ready.
    warm_up_batch_sizes: tuple[int, ...] = (1,)
    # Length given to free dimensions in the warm-up.
    warm_up_length: int = 16
    # Free settings that serving has to know, e.g. {"max_length": 64}.
    config: Mapping[str, int] = field(default_factory=dict)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in the order of the graph."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the order of the graph."""
        return tuple(tensor.name for tensor in self.outputs)

    def check(self, arrays: Arrays, tensors: tuple[TensorSpec, ...]) -> None:
        """Compares arrays (axis 0 is the batch) with the tensors that the spec promises.

        Raises:
            ValueError: a tensor is missing, or its dtype or shape differs; names it.
        """
        for tensor in tensors:
            if tensor.name not in arrays:
                raise ValueError(f"{self.name}: tensor {tensor.name!r} is missing")
            array = arrays[tensor.name]
            if array.dtype != NUMPY_DTYPES[tensor.dtype]:
                raise ValueError(
                    f"{self.name}: {tensor.name} is {array.dtype}, the spec says {tensor.dtype}"
                )
            dims = array.shape[1:]
            fits = len(dims) == len(tensor.dims) and all(
                wanted in (-1, got) for wanted, got in zip(tensor.dims, dims, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"{self.name}: {tensor.name} has dimensions {list(dims)}, "
                    f"the spec says {list(tensor.dims)}"
                )


NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "FP16": np.dtype(np.float16),
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "BOOL": np.dtype(np.bool_),
}

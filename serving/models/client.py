"""The seam between steps and model hosts: steps know this protocol and nothing of Triton."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.context import RequestContext

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """Named output tensors of one inference, and the version that made them."""

    tensors: dict[str, NDArray[Any]]
    version: int

    def floats(self, name: str) -> NDArray[np.float32]:
        """The output `name` as float32."""
        return np.asarray(self.tensors[name], dtype=np.float32)


class ModelClient(Protocol):
    """Runs a model by name. Axis 0 of every tensor is the batch."""

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """Infers a whole batch within the request's deadline and notes the version in `context`.

        Raises:
            ModelContractViolated: names, shapes or dtypes do not match the model's manifest.
            ModelUnavailable: no host has the model ready.
            Overloaded: the model's queue is full.
            DeadlineExceeded: the remaining time ran out.
        """
        ...

"""Reads a model's outputs, and refuses what a step could only misread."""

import numpy as np
from numpy.typing import NDArray

from serving.errors import ModelContractViolated
from serving.models.client import ModelOutput


def finite(
    model: str, output: ModelOutput, name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float32]:
    """The output `name` as float32 of the given shape (None: any size).

    Raises:
        ModelContractViolated: it is missing, has another shape, or holds NaN or infinity.
    """
    if name not in output.tensors:
        raise ModelContractViolated(f"{model}: output {name} is missing")
    values = output.floats(name)
    if len(values.shape) != len(shape) or any(
        want is not None and got != want for got, want in zip(values.shape, shape, strict=True)
    ):
        raise ModelContractViolated(
            f"{model}: output {name} has the shape {list(values.shape)}, expected {list(shape)}"
        )
    if not np.isfinite(values).all():
        raise ModelContractViolated(f"{model}: output {name} holds NaN or infinity")
    return values


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logistic function without overflow, in double precision."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64))))

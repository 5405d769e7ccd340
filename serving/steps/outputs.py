"""Reads a model's outputs, and refuses what a step could only misread."""

import math

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
    # One NaN or infinity makes the sum one; much cheaper than to look at each.
    if not math.isfinite(np.add.reduce(values, axis=None)):
        raise ModelContractViolated(f"{model}: output {name} holds NaN or infinity")
    return values


def most_probable(logits: NDArray[np.float32], temperature: float) -> tuple[int, float]:
    """Index of the greatest of the [n] logits, and its probability after division by `temperature`.

    The softmax of one class, without the others.
    """
    best = int(logits.argmax())
    scaled = logits.astype(np.float64)
    scaled -= scaled[best]
    scaled /= temperature
    return best, 1.0 / float(np.exp(scaled).sum())


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logistic function without overflow, in double precision."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64))))

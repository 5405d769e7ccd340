"""Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
# Bounds on the temperature; outside, the held-out labels say nothing about calibration.
_LOWEST, _HIGHEST = 0.2, 10.0
# Of the temperature's logarithm.
_PRECISION = 1e-3


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Logarithm of the softmax over the last axis, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def cross_entropy(logits: Floats, labels: Ints) -> float:
    """Mean negative log-likelihood in nats: logits [n, c], labels [n]."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def binary_cross_entropy(logits: Floats, labels: Ints) -> float:
    """Mean negative log-likelihood in nats: logits [n], labels 0 or 1 [n]."""
    signed = logits.astype(np.float64) * (2.0 * labels - 1.0)
    return float(np.logaddexp(0.0, -signed).mean())


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature in [0.2, 10] with the lowest loss: golden section on its logarithm.

    The loss has one minimum over the logarithm of the temperature.
    """
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    left_loss, right_loss = loss(math.exp(left)), loss(math.exp(right))
    while high - low > _PRECISION:
        if left_loss < right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - ratio * (high - low)
            left_loss = loss(math.exp(left))
        else:
            low, left, left_loss = left, right, right_loss
            right = low + ratio * (high - low)
            right_loss = loss(math.exp(right))
    return math.exp((low + high) / 2.0)


def fit_multiclass(logits: Floats, labels: Ints) -> float:
    """Temperature of a softmax: logits [n, c], labels [n]; 1 if there are none."""
    if not len(labels):
        return 1.0
    return fit_temperature(lambda t: cross_entropy(logits / t, labels))


def fit_binary(logits: Floats, labels: Ints) -> float:
    """Temperature of a sigmoid: logits [n], labels 0 or 1 [n]; 1 if one of them is missing."""
    if len(np.unique(labels)) < 2:
        return 1.0
    return fit_temperature(lambda t: binary_cross_entropy(logits / t, labels))


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, weighted by size."""
    bins = np.clip((confidence * 15).astype(int), 0, 14)
    gaps = [
        abs(float(confidence[bins == b].mean()) - float(correct[bins == b].mean()))
        * float((bins == b).mean())
        for b in np.unique(bins)
    ]
    return float(sum(gaps))

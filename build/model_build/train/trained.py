"""What every training hands on: a module with what export, parity and publishing need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model_build.spec import ModelSpec

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model that was trained (or taken as it is) and evaluated."""

    spec: ModelSpec
    # Takes the spec's inputs in order, returns its outputs in order; in evaluation mode.
    module: nn.Module
    # Held-out inputs for the parity check, one batch each, with labels where a figure needs them.
    samples: tuple[Batch, ...]
    # Files that serving needs beside the model, by name.
    assets: Mapping[str, bytes]
    # Held-out figures of the model, and of what it has to beat. A figure of a second contender has
    # that one's name in front, e.g. "item_knn.hit_rate_10".
    metrics: Mapping[str, float] = field(default_factory=dict)
    baseline_metrics: Mapping[str, float] = field(default_factory=dict)
    # Further free settings for the manifest, beside those of the spec.
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a temperature changed the expected calibration error."""

    temperature: float
    error_before: float
    error_after: float


def batches_of(arrays: Batch, size: int) -> tuple[Batch, ...]:
    """Cuts arrays (axis 0 is the batch) into batches of up to `size` rows."""
    count = len(next(iter(arrays.values())))
    return tuple(
        {name: array[start : start + size] for name, array in arrays.items()}
        for start in range(0, count, size)
    )


def sample_rows(rng: np.random.Generator, count: int, at_most: int) -> NDArray[np.int64]:
    """Up to `at_most` distinct row numbers below `count`, rising."""
    return np.sort(rng.choice(count, min(count, at_most), replace=False)).astype(np.int64)

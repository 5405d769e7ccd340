"""Candidates: the items that a customer is likely to want next, from the history alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_build.spec import ModelSpec, Tolerances
from model_build.specs.hosting import hosting
from serving.models.manifest import TensorSpec

HISTORY_LENGTH = 50
# The graph returns so many items, or all of them if the shop has fewer.
TOP_K = 200


def _sample_histories(rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
    """Left-padded histories of 0 to 50 items, int64 [size, 50]. Items 1 to 100 exist anywhere."""
    history = rng.integers(1, 101, (size, HISTORY_LENGTH))
    lengths = rng.integers(0, HISTORY_LENGTH + 1, size)
    history[np.arange(HISTORY_LENGTH)[None, :] < (HISTORY_LENGTH - lengths)[:, None]] = 0
    return {"history": history.astype(np.int64)}


SPEC = ModelSpec(
    name="candidates",
    # Item indexes, oldest first, padded on the left with 0.
    inputs=(TensorSpec(name="history", dtype="INT64", dims=(HISTORY_LENGTH,)),),
    # Free: min(TOP_K, products of the shop).
    outputs=(
        TensorSpec(name="item_indexes", dtype="INT64", dims=(-1,)),
        TensorSpec(name="scores", dtype="FP32", dims=(-1,)),
    ),
    max_batch_size=32,
    tolerances={
        # Two items with equal scores may change places, so the items are compared as a share.
        "onnx": Tolerances(
            max_abs_difference={"scores": 1e-3}, at_least={"top_10_agreement": 0.99}
        ),
    },
    hosting=hosting(cpu_instances=1, max_queue_size=None),
    sample_inputs=_sample_histories,
    config={"history_length": HISTORY_LENGTH},
)

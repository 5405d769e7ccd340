"""Ranker: how well a candidate fits a customer, one row a candidate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_build.spec import ModelSpec, Tolerances
from model_build.specs.hosting import hosting
from serving.features import RANKER_CATEGORICAL, RANKER_DENSE
from serving.models.manifest import TensorSpec


def _sample_rows(rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
    """Rows of unknown values (0) and the first few of each vocabulary."""
    return {
        "categorical": rng.integers(0, 3, (size, len(RANKER_CATEGORICAL))).astype(np.int64),
        "dense": rng.normal(size=(size, len(RANKER_DENSE))).astype(np.float32),
    }


SPEC = ModelSpec(
    name="ranker",
    inputs=(
        TensorSpec(name="categorical", dtype="INT64", dims=(len(RANKER_CATEGORICAL),)),
        TensorSpec(name="dense", dtype="FP32", dims=(len(RANKER_DENSE),)),
    ),
    outputs=(TensorSpec(name="score", dtype="FP32", dims=(1,)),),
    # One request brings all candidates of one customer.
    max_batch_size=256,
    tolerances={"onnx": Tolerances(max_abs_difference={"score": 1e-3})},
    hosting=hosting(cpu_instances=1, max_queue_size=None),
    sample_inputs=_sample_rows,
)

"""Decision: what the agent does next, and how likely the customer is to buy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_build.spec import ModelSpec, Tolerances
from model_build.specs.hosting import hosting
from serving.features import DecisionFeatures
from serving.models.manifest import TensorSpec
from serving.types import Action

_FEATURES = len(DecisionFeatures.names())


def _sample_features(rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
    """Features in [0, 1), float32 [size, 22]."""
    return {"features": rng.random((size, _FEATURES)).astype(np.float32)}


SPEC = ModelSpec(
    name="decision",
    inputs=(TensorSpec(name="features", dtype="FP32", dims=(_FEATURES,)),),
    outputs=(
        TensorSpec(name="action_probabilities", dtype="FP32", dims=(len(Action),)),
        TensorSpec(name="purchase_propensity", dtype="FP32", dims=(1,)),
    ),
    max_batch_size=64,
    tolerances={
        "onnx": Tolerances(
            max_abs_difference={"action_probabilities": 1e-4, "purchase_propensity": 1e-4}
        ),
    },
    hosting=hosting(cpu_instances=1, max_queue_size=None),
    sample_inputs=_sample_features,
)

"""Encoder: the meaning of a text as a vector of unit length."""

from dataclasses import replace

from model_build.spec import ModelSpec, Tolerances
from model_build.specs.hosting import hosting
from model_build.specs.tokens import TOKEN_INPUTS, sample_tokens
from serving.models.manifest import TensorSpec

_HOSTING = hosting(cpu_instances=2, max_queue_size=128)

SPEC = ModelSpec(
    name="encoder",
    inputs=TOKEN_INPUTS,
    outputs=(TensorSpec(name="embedding", dtype="FP32", dims=(384,)),),
    max_batch_size=32,
    dynamic_axes={"length": (("input_ids", 1), ("attention_mask", 1))},
    tolerances={
        "onnx": Tolerances(max_abs_difference={"embedding": 1e-4}),
        "onnx-int8": Tolerances(at_least={"mean_cosine": 0.985, "lowest_cosine": 0.95}),
    },
    hosting={
        **_HOSTING,
        "cpu": replace(_HOSTING["cpu"], preferred_artifact="onnx-int8"),
    },
    sample_inputs=sample_tokens,
    warm_up_batch_sizes=(1, 8),
    config={"max_length": 128},
)

"""Understanding: intent, slots, sentiment and out-of-scope of an utterance in one pass."""

from dataclasses import replace

from model_build.spec import ModelSpec, Tolerances
from model_build.specs.hosting import hosting
from model_build.specs.tokens import TOKEN_INPUTS, sample_tokens
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.models.manifest import TensorSpec
from serving.types import Sentiment

_HOSTING = hosting(cpu_instances=2, max_queue_size=128)

SPEC = ModelSpec(
    name="understanding",
    inputs=TOKEN_INPUTS,
    outputs=(
        TensorSpec(name="intent_logits", dtype="FP32", dims=(len(INTENT_NAMES),)),
        TensorSpec(name="slot_logits", dtype="FP32", dims=(-1, len(SLOT_TAGS))),
        TensorSpec(name="sentiment_logits", dtype="FP32", dims=(len(Sentiment),)),
        TensorSpec(name="out_of_scope_logit", dtype="FP32", dims=(1,)),
    ),
    max_batch_size=32,
    dynamic_axes={
        "length": (("input_ids", 1), ("attention_mask", 1), ("slot_logits", 1)),
    },
    tolerances={
        "onnx": Tolerances(
            max_abs_difference={
                "intent_logits": 2e-3,
                "slot_logits": 2e-3,
                "sentiment_logits": 2e-3,
                "out_of_scope_logit": 2e-3,
            },
        ),
        # Logits of an int8 model move. Where the source is in doubt between two intents, either may
        # win; what must not fall is how often the winner is right.
        "onnx-int8": Tolerances(
            at_least={
                "intent_accuracy_kept": 0.985,
                "intent_agreement": 0.96,
                "slot_tag_agreement": 0.98,
                "sentiment_agreement": 0.97,
                "out_of_scope_agreement": 0.98,
            },
        ),
    },
    hosting={
        **_HOSTING,
        "cpu": replace(_HOSTING["cpu"], preferred_artifact="onnx-int8"),
    },
    sample_inputs=sample_tokens,
    warm_up_batch_sizes=(1, 8),
    config={"max_length": 64},
)

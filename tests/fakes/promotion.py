"""Tiny versions of real models, for gates: one layer each, published with manifests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from model_build.promotion.held_out.evaluation import Quality, Sample
from model_build.serving_profile import TunedHosting
from model_build.specs import SPECS
from model_build.train.decision_turns import SimulatedTurns
from model_build.tune.figures import Look
from model_build.tune.host import PointFailed
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.models.manifest import ArtifactRecord, ParityRecord, sha256_of
from serving.models.repository import PublishedVersion
from serving.types import Action, Sentiment
from tests.tiny_models import manifest

Floats = NDArray[np.float32]
FEATURES = SPECS["decision"].inputs[0].dims[0]


def fitted_weights(turns: SimulatedTurns) -> Floats:
    """A linear model of the best action, float32 [22, 6]: better than chance by far."""
    wanted = 8.0 * np.eye(len(Action))[turns.best_action] - 4.0
    return np.asarray(np.linalg.lstsq(turns.features, wanted, rcond=None)[0], np.float32)


def publish_decision(repository: Path, version: int, weights: Floats) -> PublishedVersion:
    """A `decision` whose purchase propensity is always a half."""
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["action_probabilities"], axis=1),
        helper.make_node("MatMul", ["features", "nothing"], ["zero"]),
        helper.make_node("Sigmoid", ["zero"], ["purchase_propensity"]),
    ]
    nothing = np.zeros((FEATURES, 1), np.float32)
    return _publish(
        repository,
        "decision",
        version,
        {"model.onnx": ("onnx", nodes, {"weights": weights, "nothing": nothing})},
    )


def publish_encoder(
    repository: Path, version: int, source: Floats, served: Floats | None
) -> PublishedVersion:
    """An `encoder` that adds up a row of a table, float32 [w, 384], for each token.

    Args:
        repository: where to.
        version: its number.
        source: table of the fp32 export.
        served: table of the artifact that is served as int8; None: the export is served.
    """
    from onnx import helper

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["sum"], axes=[1], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["unit"], axis=-1, p=2),
        # The mask must be part of the graph.
        helper.make_node("ReduceMax", ["attention_mask"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Cast", ["one"], ["factor"], to=1),
        helper.make_node("Mul", ["unit", "factor"], ["embedding"]),
    ]
    if served is None:
        return _publish(
            repository, "encoder", version, {"model.onnx": ("onnx", nodes, {"table": source})}
        )
    files = {
        "model.onnx": ("onnx-int8", nodes, {"table": served}),
        "source.onnx": ("onnx", nodes, {"table": source}),
    }
    return _publish(repository, "encoder", version, files)


def publish_understanding(
    repository: Path,
    version: int,
    tables: Mapping[str, Floats],
    tokenizer: tokenizers.Tokenizer,
    intents: Sequence[str] = INTENT_NAMES,
) -> PublishedVersion:
    """An `understanding` that adds up what each token says.

    Args:
        repository: where to.
        version: its number.
        tables: by output, float32 [tokens, classes].
        tokenizer: its vocabulary numbers the tokens.
        intents: in the order of the classes.
    """
    from onnx import helper

    nodes = []
    for output in tables:
        rows = output if output == "slot_logits" else f"{output}_rows"
        nodes.append(helper.make_node("Gather", [f"{output}_table", "input_ids"], [rows]))
        if rows != output:
            nodes.append(helper.make_node("ReduceMean", [rows], [output], axes=[1], keepdims=0))
    # The mask must be part of the graph.
    nodes.append(helper.make_node("Identity", ["attention_mask"], ["unread"]))
    labels = {
        "intents": list(intents),
        "slot_tags": list(SLOT_TAGS),
        "sentiments": [sentiment.value for sentiment in Sentiment],
    }
    return _publish(
        repository,
        "understanding",
        version,
        {"model.onnx": ("onnx", nodes, {f"{k}_table": v for k, v in tables.items()})},
        {"labels.json": json.dumps(labels), "tokenizer.json": tokenizer.to_str()},
    )


def _publish(
    repository: Path,
    model: str,
    version: int,
    files: Mapping[str, tuple[str, Sequence[Any], Mapping[str, NDArray[Any]]]],
    assets: Mapping[str, str] | None = None,
) -> PublishedVersion:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    spec = SPECS[model]
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    kinds = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                t.name, kinds[t.dtype], ["b", *("l" if d == -1 else d for d in t.dims)]
            )
            for t in tensors
        ]
        for tensors in (spec.inputs, spec.outputs)
    )
    records = []
    for name, (kind, nodes, constants) in files.items():
        graph = helper.make_graph(
            list(nodes),
            "tiny",
            inputs,
            outputs,
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        path = folder / name
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
        records.append(
            ArtifactRecord.model_validate(
                {
                    "kind": kind,
                    "path": name,
                    "sha256": sha256_of(path),
                    "size_bytes": path.stat().st_size,
                }
            )
        )
    made = manifest(
        model,
        spec.inputs,
        spec.outputs,
        version=version,
        max_batch_size=spec.max_batch_size,
        artifacts=records,
    ).model_copy(update={"served_artifact": records[0].kind, "config": {"max_length": 32}})
    made.write(folder)
    for name, text in (assets or {}).items():
        (folder / name).write_text(text)
    return PublishedVersion(folder)


def built_with_parity(version: PublishedVersion) -> PublishedVersion:
    """The version with a record that its export was compared when it was built."""
    record = ParityRecord(
        artifact="onnx",
        source="pytorch",
        samples=99,
        max_abs_difference={"action_probabilities": 1e-6, "purchase_propensity": 1e-6},
        tolerances={"max_abs_difference.action_probabilities": 1e-4},
        passed=True,
    )
    version.manifest.model_copy(update={"parity": (record,)}).write(version.folder)
    return PublishedVersion(version.folder)


@dataclass(frozen=True, kw_only=True)
class FixedEvaluation:
    """Says what it was told to."""

    given: Sequence[Sample] = ()
    found: Quality | Exception | None = None

    def samples(self, version: PublishedVersion) -> Sequence[Sample]:
        return self.given

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        if isinstance(self.found, Quality):
            return self.found
        assert self.found is not None
        raise self.found


@dataclass
class FixedHost:
    """A version on a machine that is not there: latencies by its speed, with noise."""

    rng: np.random.Generator
    slowness: float = 1.0
    noise: float = 0.03
    errors: int = 0
    refuses: bool = False
    loaded: bool = False
    # Length of each look, and of all hosts together who was looked at.
    looked: list[float] = field(default_factory=list)
    order: list["FixedHost"] = field(default_factory=list)
    now_s: float = 0.0

    async def load(self, point: TunedHosting) -> None:
        if self.refuses:
            raise PointFailed("model.onnx:\n cannot be read")
        self.loaded = True

    async def look(self, point: TunedHosting, concurrency: int, seconds: float) -> Look:
        assert self.loaded
        self.looked.append(seconds)
        self.order.append(self)
        p50_ms = 20.0 * self.slowness * float(np.exp(self.noise * self.rng.normal()))
        return Look(
            at_s=0.0,
            concurrency=concurrency,
            requests=200,
            errors=self.errors,
            requests_per_s=1000.0 * concurrency / p50_ms,
            p50_ms=p50_ms,
            p99_ms=1.6 * p50_ms * float(np.exp(self.noise * self.rng.normal())),
            server_cpu_ms=0.1,
            instances_cpu_ms=1.0,
            generator_cpu_ms=0.1,
            batches={1: 200},
            memory_mib=80.0,
        )

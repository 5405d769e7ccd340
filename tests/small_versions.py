"""Versions of real models whose graphs are a few bytes, published as a build publishes them."""

from pathlib import Path
from typing import Any

from model_build.publish import publish
from model_build.specs import SPECS
from serving.features import DecisionFeatures
from serving.models.manifest import ArtifactRecord, ModelManifest, sha256_of
from serving.types import Action

ITEMS = 3
_FEATURES = len(DecisionFeatures.names())


def publish_decision(repository: Path, propensity: float = 0.5) -> ModelManifest:
    """The next version of `decision`; its purchase propensity is always the given one."""
    return _publish(repository, "decision", decision_graph(propensity), {"features.json": b"{}"})


def publish_candidates(repository: Path) -> ModelManifest:
    """The next version of `candidates`, of a shop with three products."""
    return _publish(repository, "candidates", _candidates_graph(), {"products.json": b"[]"})


def decision_graph(propensity: float, features: int = _FEATURES) -> Any:
    """An ONNX model with the tensors of `decision`; the features are read and not used."""
    from onnx import TensorProto, helper

    actions = len(Action)
    zeros = helper.make_tensor(
        "zeros", TensorProto.FLOAT, [features, actions + 1], [0.0] * (features * (actions + 1))
    )
    row = helper.make_tensor(
        "row", TensorProto.FLOAT, [actions + 1], [1.0 / actions] * actions + [propensity]
    )
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [actions, 1])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "zeros"], ["nothing"]),
            helper.make_node("Add", ["nothing", "row"], ["both"]),
            helper.make_node(
                "Split", ["both", "sizes"], ["action_probabilities", "purchase_propensity"], axis=1
            ),
        ],
        "decision",
        [value("features", TensorProto.FLOAT, ["batch", features])],
        [
            value("action_probabilities", TensorProto.FLOAT, ["batch", actions]),
            value("purchase_propensity", TensorProto.FLOAT, ["batch", 1]),
        ],
        [zeros, row, sizes],
    )
    return _model(graph)


def _candidates_graph() -> Any:
    from onnx import TensorProto, helper

    constant = {
        name: helper.make_tensor(name, TensorProto.INT64, [1], [number])
        for name, number in (("from", 0), ("to", ITEMS), ("axis", 1))
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["history", "from", "to", "axis"], ["item_indexes"]),
            helper.make_node("Cast", ["item_indexes"], ["scores"], to=TensorProto.FLOAT),
        ],
        "candidates",
        [value("history", TensorProto.INT64, ["batch", 50])],
        [
            value("item_indexes", TensorProto.INT64, ["batch", ITEMS]),
            value("scores", TensorProto.FLOAT, ["batch", ITEMS]),
        ],
        list(constant.values()),
    )
    return _model(graph)


def _model(graph: Any) -> Any:
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _publish(repository: Path, name: str, graph: Any, assets: dict[str, bytes]) -> ModelManifest:
    spec = SPECS[name]

    def fill(draft: Path, version: int) -> ModelManifest:
        files = {"model.onnx": graph.SerializeToString(), **assets}
        for file, content in files.items():
            (draft / file).write_bytes(content)
        return ModelManifest(
            model=name,
            version=version,
            build_key="",
            inputs=spec.inputs,
            outputs=spec.outputs,
            max_batch_size=spec.max_batch_size,
            served_artifact="onnx",
            artifacts=tuple(
                ArtifactRecord(
                    kind="onnx" if file == "model.onnx" else "asset",
                    path=file,
                    sha256=sha256_of(draft / file),
                    size_bytes=len(content),
                )
                for file, content in files.items()
            ),
            tools={},
            data_name="none",
            data_digest="",
            seed=0,
            metrics={"accuracy": 0.5},
            parity=(),
            train_seconds=0.0,
            published_at_ms=1,
        )

    return publish(repository, name, fill)

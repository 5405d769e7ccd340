"""Model repositories with tiny models, for tests of what stands around a model.

add      y = x + x, any length
slow     y = sin(sin(…(x))), as many times as the largest value of x; one row a batch
gather   y = [1, 2, 3, 4][x]: an index beyond fails when it runs, not before
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.models.manifest import ArtifactRecord, ModelManifest, TensorSpec, sha256_of

FP32 = TensorSpec(name="x", dtype="FP32", dims=(-1,))
INT64 = TensorSpec(name="x", dtype="INT64", dims=(-1,))
OUTPUT = TensorSpec(name="y", dtype="FP32", dims=(-1,))
# Refuses a request whose own timeout has passed while it waited, and one more than five.
IMPATIENT = (
    "default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 600000000 "
    "allow_timeout_override: true max_queue_size: 5 }"
)


def manifest(
    model: str,
    inputs: Sequence[TensorSpec] = (FP32,),
    outputs: Sequence[TensorSpec] = (OUTPUT,),
    *,
    version: int = 1,
    max_batch_size: int = 8,
    artifacts: Sequence[ArtifactRecord] = (),
) -> ModelManifest:
    """A manifest that says nothing but the tensors."""
    return ModelManifest(
        model=model,
        version=version,
        build_key="test",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        max_batch_size=max_batch_size,
        served_artifact="onnx",
        artifacts=tuple(artifacts),
        tools={},
        data_name="none",
        data_digest="",
        seed=0,
        metrics={},
        parity=(),
        train_seconds=0.0,
        published_at_ms=0,
    )


def publish_tiny_models(repository: Path) -> dict[str, ModelManifest]:
    """Writes and publishes all of them; returns their manifests."""
    return {
        "add": publish(repository, "add", add_graph()),
        "slow": publish(repository, "slow", slow_graph(), max_batch_size=1, batching=IMPATIENT),
        "patient": publish(repository, "patient", slow_graph(), max_batch_size=1),
        "gather": publish(repository, "gather", gather_graph(), inputs=(INT64,)),
    }


def publish(
    repository: Path,
    model: str,
    graph: Any,
    *,
    inputs: Sequence[TensorSpec] = (FP32,),
    outputs: Sequence[TensorSpec] = (OUTPUT,),
    max_batch_size: int = 8,
    batching: str = "",
    version: int = 1,
) -> ModelManifest:
    """Writes a version folder and `config.pbtxt`."""
    import onnx

    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    record = ArtifactRecord(
        kind="onnx", path=path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size
    )
    published = manifest(
        model,
        inputs,
        outputs,
        version=version,
        max_batch_size=max_batch_size,
        artifacts=(record,),
    )
    published.write(folder)
    config = [
        f'name: "{model}" backend: "onnxruntime" max_batch_size: {max_batch_size}',
        *(_tensor("input", spec) for spec in inputs),
        *(_tensor("output", spec) for spec in outputs),
        "instance_group { count: 1 kind: KIND_CPU }",
        f"dynamic_batching {{ {batching} }}",
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }',
    ]
    (folder.parent / "config.pbtxt").write_text("\n".join(config) + "\n")
    return published


def add_graph() -> Any:
    return _graph([_node("Add", ["x", "x"], ["y"])])


def slow_graph() -> Any:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [_node("Identity", ["go"], ["go_on"]), _node("Sin", ["before"], ["after"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, ["b", "l"]),
        ],
        [value("go_on", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, ["b", "l"])],
    )
    return _graph(
        [
            _node("ReduceMax", ["x"], ["largest"], keepdims=0),
            _node("Cast", ["largest"], ["times"], to=TensorProto.INT64),
            _node("Loop", ["times", "", "x"], ["y"], body=body),
        ]
    )


def gather_graph() -> Any:
    from onnx import TensorProto, helper

    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    return _graph([_node("Gather", ["table", "x"], ["y"])], x="INT64", constants=[table])


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, outputs, **attributes)


def _graph(nodes: list[Any], x: str = "FLOAT", constants: Sequence[Any] = ()) -> Any:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "tiny",
        [value("x", getattr(TensorProto, x), ["b", "l"])],
        [value("y", TensorProto.FLOAT, ["b", "l"])],
        list(constants),
    )


def _tensor(side: str, spec: TensorSpec) -> str:
    dims = json.dumps(list(spec.dims))
    return f'{side} [ {{ name: "{spec.name}" data_type: TYPE_{spec.dtype} dims: {dims} }} ]'

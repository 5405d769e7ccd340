"""A model repository whose understanding answers at once: what is left is the stack's own work.

The null model has the inputs and outputs of the real one and the same configuration; its outputs
are zeros of the right shape. Everything else in the repository is the real thing.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from loadtest.bench.artifacts import MODEL, SERVED_FILE
from serving.models.manifest import ArtifactRecord, ModelManifest, TensorSpec, sha256_of
from serving.models.repository import ModelRepository

_ASSETS = ("labels.json", "tokenizer.json")
_CONFIG = "config.pbtxt"
_OPSET = 17
_IR_VERSION = 8


def make_null_repository(repository: Path, folder: Path) -> Path:
    """Makes the repository anew in `folder` and returns it; other models are linked.

    Raises:
        StartupError: the repository has no published version of the model.
    """
    source = ModelRepository(repository.absolute()).latest(MODEL)
    shutil.rmtree(folder, ignore_errors=True)
    version = folder / MODEL / str(source.manifest.version)
    version.mkdir(parents=True)
    for model in sorted(path for path in repository.absolute().iterdir() if path.is_dir()):
        if model.name != MODEL:
            (folder / model.name).symlink_to(model)
    shutil.copyfile(source.folder.parent / _CONFIG, folder / MODEL / _CONFIG)
    for name in _ASSETS:
        shutil.copyfile(source.folder / name, version / name)
    write_null_graph(source.manifest, version / SERVED_FILE)
    records = [
        ArtifactRecord(
            kind="onnx" if name == SERVED_FILE else "asset",
            path=name,
            sha256=sha256_of(version / name),
            size_bytes=(version / name).stat().st_size,
        )
        for name in (SERVED_FILE, *_ASSETS)
    ]
    source.manifest.model_copy(
        update={
            "build_key": "null",
            "served_artifact": "onnx",
            "artifacts": tuple(records),
            "parity": (),
            "metrics": {},
            "published_at_ms": round(time.time() * 1000),
        }
    ).write(version)
    return folder


def write_null_graph(manifest: ModelManifest, path: Path) -> None:
    """Writes a graph with the manifest's tensors: zeros, as many rows as the first input has.

    A free dimension of an output is the first input's second one.
    """
    import onnx
    from onnx import TensorProto, helper

    first = manifest.inputs[0].name
    nodes = [helper.make_node("Shape", [first], ["shape"])]
    constants = [
        helper.make_tensor("rows_at", TensorProto.INT64, [1], [0]),
        helper.make_tensor("length_at", TensorProto.INT64, [1], [1]),
    ]
    nodes += [
        helper.make_node("Gather", ["shape", f"{what}_at"], [what], axis=0)
        for what in ("rows", "length")
    ]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    for output in manifest.outputs:
        dims = []
        for number, dim in enumerate(output.dims):
            if dim == -1:
                dims.append("length")
                continue
            name = f"{output.name}_{number}"
            constants.append(helper.make_tensor(name, TensorProto.INT64, [1], [dim]))
            dims.append(name)
        shape = f"{output.name}_shape"
        nodes.append(helper.make_node("Concat", ["rows", *dims], [shape], axis=0))
        nodes.append(helper.make_node("ConstantOfShape", [shape], [output.name], value=zero))
    graph = helper.make_graph(
        nodes,
        "null",
        [_value(spec) for spec in manifest.inputs],
        [_value(spec) for spec in manifest.outputs],
        constants,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), str(path))


def _value(spec: TensorSpec) -> Any:
    """A tensor's description with the batch in front; free dimensions have names."""
    from onnx import TensorProto, helper

    types = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
    dims = ["rows", *("length" if dim == -1 else dim for dim in spec.dims)]
    return helper.make_tensor_value_info(spec.name, types[spec.dtype], dims)

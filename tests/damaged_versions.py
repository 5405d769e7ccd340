"""Versions of published models that err, dawdle or are none, with manifests that say so."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_build.publish import publish
from serving.models.manifest import ModelManifest, sha256_of
from serving.models.repository import ModelRepository

# Changes a graph in place.
Change = Callable[[Any], None]
_SIDE = 1000
_PRODUCTS = 2
_ROWS_PER_TOKEN = 500


def publish_changed(
    repository: Path, model: str, version: int, change: Change, kinds: Sequence[str]
) -> int:
    """Publishes a version again with other graphs; returns its number.

    Args:
        repository: where it is and will be.
        model: its name.
        version: that is changed.
        change: done to the artifacts.
        kinds: of artifacts, e.g. "onnx"; the others stay as they are.
    """
    source = ModelRepository(repository).version(model, version)

    def fill(draft: Path, number: int) -> ModelManifest:
        records = []
        for record in source.manifest.artifacts:
            path = draft / record.path
            if record.kind in kinds:
                graph = onnx.load(str(source.folder / record.path))
                change(graph.graph)
                onnx.save(graph, str(path))
            else:
                path.hardlink_to(source.folder / record.path)
            update = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
            records.append(record.model_copy(update=update))
        return source.manifest.model_copy(update={"version": number, "artifacts": tuple(records)})

    return publish(repository, model, fill).version


def publish_with(repository: Path, model: str, version: int, files: Mapping[str, bytes]) -> int:
    """Publishes a version again with other contents of some files; returns its number."""
    source = ModelRepository(repository).version(model, version)

    def fill(draft: Path, number: int) -> ModelManifest:
        records = []
        for record in source.manifest.artifacts:
            path = draft / record.path
            if record.path in files:
                path.write_bytes(files[record.path])
            else:
                path.hardlink_to(source.folder / record.path)
            update = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
            records.append(record.model_copy(update=update))
        return source.manifest.model_copy(update={"version": number, "artifacts": tuple(records)})

    return publish(repository, model, fill).version


def columns_reversed(output: str) -> Change:
    """Each class is answered in the place of another; the last items of a list come first."""

    def change(graph: Any) -> None:
        before = _renamed(graph, output)
        names = []
        # Along axis 1, from the last to before the first.
        for name, value in (("from", -1), ("to", -(2**40)), ("axis", 1), ("step", -1)):
            names.append(f"{output}_{name}")
            graph.initializer.append(numpy_helper.from_array(np.array([value]), names[-1]))
        graph.node.append(helper.make_node("Slice", [before, *names], [output]))

    return change


def turned_round(output: str) -> Change:
    """What was best is worst."""

    def change(graph: Any) -> None:
        graph.node.append(helper.make_node("Neg", [_renamed(graph, output)], [output]))

    return change


def mostly_forgotten(output: str, kept: int) -> Change:
    """Only the first few columns of an output are left, float32 [n, 384]."""

    def change(graph: Any) -> None:
        mask = (np.arange(384) < kept).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(mask, f"{output}_mask"))
        before = _renamed(graph, output)
        graph.node.append(helper.make_node("Mul", [before, f"{output}_mask"], [output]))

    return change


def slowed(output: str) -> Change:
    """The same answers, after multiplications of large matrices that come to nothing."""

    def change(graph: Any) -> None:
        matrix = np.full((_SIDE, _SIDE), 1e-3, np.float32)
        before = _renamed(graph, output)
        names = {key: f"{output}_{key}" for key in ("matrix", "nought", "largest", "none")}
        graph.initializer.extend(
            [
                numpy_helper.from_array(matrix, names["matrix"]),
                numpy_helper.from_array(np.float32(0.0), names["nought"]),
            ]
        )
        # Depends on the answer, so that it cannot be computed once and for all.
        graph.node.append(helper.make_node("ReduceMax", [before], [names["largest"]], keepdims=0))
        graph.node.append(
            helper.make_node("Add", [names["matrix"], names["largest"]], [f"{output}_product_0"])
        )
        for step in range(_PRODUCTS):
            product = [f"{output}_product_{step}", names["matrix"]]
            graph.node.append(helper.make_node("MatMul", product, [f"{output}_product_{step + 1}"]))
        last = f"{output}_product_{_PRODUCTS}"
        graph.node.append(helper.make_node("ReduceMax", [last], [f"{output}_most"], keepdims=0))
        graph.node.append(
            helper.make_node("Mul", [f"{output}_most", names["nought"]], [names["none"]])
        )
        graph.node.append(helper.make_node("Add", [before, names["none"]], [output]))

    return change


def failing_beyond(output: str, tokens: int) -> Change:
    """Answers texts of up to so many tokens, padding included, and fails on longer ones."""

    def change(graph: Any) -> None:
        # Looked up at the text's length: what lies behind the table's end is an error.
        table = np.zeros(tokens + 1, np.float32)
        graph.initializer.append(numpy_helper.from_array(table, f"{output}_table"))
        length = _length(graph, output)
        nought = f"{output}_nought"
        graph.node.append(helper.make_node("Gather", [f"{output}_table", length], [nought]))
        graph.node.append(helper.make_node("Add", [_renamed(graph, output), nought], [output]))

    return change


def slowed_beyond(output: str, tokens: int) -> Change:
    """The same answers; for texts of more tokens, padding included, after a long multiplication."""

    def change(graph: Any) -> None:
        names = {
            key: f"{output}_{key}"
            for key in ("tokens", "none", "rows", "side", "shape", "ones", "matrix", "product")
        }
        before = _renamed(graph, output)
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(tokens), names["tokens"]),
                numpy_helper.from_array(np.array(0), names["none"]),
                numpy_helper.from_array(np.array(_ROWS_PER_TOKEN), names["rows"]),
                numpy_helper.from_array(np.array([_SIDE]), names["side"]),
                numpy_helper.from_array(np.zeros((_SIDE, _SIDE), np.float32), names["matrix"]),
                numpy_helper.from_array(np.array([-1]), f"{output}_flat"),
            ]
        )
        length = _length(graph, output)
        for kind, inputs, made in (
            ("Sub", [length, names["tokens"]], "more"),
            ("Max", [f"{output}_more", names["none"]], "beyond"),
            ("Mul", [f"{output}_beyond", names["rows"]], "height"),
            ("Reshape", [f"{output}_height", f"{output}_flat"], "high"),
            ("Concat", [f"{output}_high", names["side"]], "shape"),
            ("ConstantOfShape", [names["shape"]], "ones"),
            ("MatMul", [names["ones"], names["matrix"]], "product"),
            ("ReduceSum", [names["product"]], "sum"),
        ):
            options: dict[str, Any] = {"axis": 0} if kind == "Concat" else {}
            if kind == "ReduceSum":
                options = {"keepdims": 0}
            node = helper.make_node(kind, inputs, [f"{output}_{made}"], **options)
            graph.node.append(node)
        graph.node.append(helper.make_node("Add", [before, f"{output}_sum"], [output]))

    return change


def _length(graph: Any, output: str) -> str:
    """Adds the length of the texts in tokens, an INT64 scalar; returns its name."""
    graph.initializer.append(numpy_helper.from_array(np.array(1), f"{output}_one"))
    graph.node.append(helper.make_node("Shape", ["input_ids"], [f"{output}_sizes"]))
    sizes = [f"{output}_sizes", f"{output}_one"]
    graph.node.append(helper.make_node("Gather", sizes, [f"{output}_length"]))
    return f"{output}_length"


def _renamed(graph: Any, output: str) -> str:
    """Gives the value behind an output another name, which is returned."""
    before = f"{output}_before"
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == output:
                    names[i] = before
    return before

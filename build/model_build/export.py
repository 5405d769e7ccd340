"""PyTorch module -> ONNX file whose inputs, outputs and free dimensions are those of its spec."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from model_build.spec import ModelSpec

OPSET = 20
_BATCH = "batch"


def export_onnx(spec: ModelSpec, module: nn.Module, path: Path) -> None:
    """Exports `module` in evaluation mode with a free batch axis.

    Raises:
        ValueError: the exported graph does not fit the spec; names the tensor.
        OSError: the file cannot be written.
    """
    arrays = spec.sample_inputs(np.random.default_rng(0), 2)
    inputs = tuple(torch.from_numpy(arrays[name]) for name in spec.input_names)
    # The exporter writes names of its own into the graph, and one of them may be that of an output.
    # So outputs get names that nothing else has, and their real ones at the end.
    placeholders = [f"output_{i}_of_graph" for i in range(len(spec.outputs))]
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(spec.input_names),
            output_names=placeholders,
            dynamic_shapes=_dynamic_shapes(spec),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _rename_outputs(model.graph, dict(zip(placeholders, spec.output_names, strict=True)))
    _drop_notes(model)
    _check_graph(spec, model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(path))


def _dynamic_shapes(spec: ModelSpec) -> tuple[dict[int, Any], ...]:
    """For each input, its free axes by number; the batch is always one."""
    batch = torch.export.Dim(_BATCH)
    symbols = {symbol: torch.export.Dim(symbol) for symbol in spec.dynamic_axes}
    shapes: list[dict[int, Any]] = []
    for tensor in spec.inputs:
        axes: dict[int, Any] = {0: batch}
        for symbol, places in spec.dynamic_axes.items():
            for name, axis in places:
                if name == tensor.name:
                    axes[axis] = symbols[symbol]
        shapes.append(axes)
    return tuple(shapes)


def _rename_outputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Gives the outputs their names; a value inside the graph that has one of them gets another."""
    names = names | {name: f"{name}_inside" for name in names.values()}
    for node in graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = names.get(name, name)
    for output in graph.output:
        output.name = names[output.name]
    for weights in graph.initializer:
        weights.name = names.get(weights.name, weights.name)


def _drop_notes(model: onnx.ModelProto) -> None:
    """Removes the exporter's notes: source lines, paths of this machine, shapes inside the graph.

    Every reader infers the shapes again; the noted ones can be stale.
    """
    graph = model.graph
    del graph.value_info[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    for weights in graph.initializer:
        del weights.metadata_props[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]


def _check_graph(spec: ModelSpec, model: onnx.ModelProto) -> None:
    """Compares the graph's inputs and outputs with the spec."""
    for tensors, values in (
        (spec.inputs, model.graph.input),
        (spec.outputs, model.graph.output),
    ):
        names = [value.name for value in values]
        if names != [tensor.name for tensor in tensors]:
            raise ValueError(f"{spec.name}: the graph has {names}, not the tensors of the spec")
        for tensor, value in zip(tensors, values, strict=True):
            kind = value.type.tensor_type
            dtype = onnx.TensorProto.DataType.Name(kind.elem_type)
            if dtype.replace("FLOAT", "FP32") != tensor.dtype:
                raise ValueError(f"{spec.name}: {tensor.name} is {dtype}, not {tensor.dtype}")
            axes = kind.shape.dim
            if len(axes) != len(tensor.dims) + 1 or not axes[0].dim_param:
                raise ValueError(f"{spec.name}: {tensor.name} has no free batch axis in front")
            for axis, dim in zip(list(axes)[1:], tensor.dims, strict=True):
                if dim != -1 and axis.dim_value != dim:
                    raise ValueError(
                        f"{spec.name}: {tensor.name} has {axis.dim_value} where {dim} belongs"
                    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's chatter about itself from the terminal; its errors still raise."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

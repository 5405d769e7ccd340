"""Runs ONNX artifacts here, for the parity check and for what one model needs of another."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from model_build.spec import Arrays, ModelSpec, Run


def onnx_runner(spec: ModelSpec, path: Path) -> Run:
    """A session over an ONNX file; inputs and outputs are checked against the spec."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(spec.output_names)

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        spec.check(inputs, spec.inputs)
        outputs = dict(zip(names, session.run(names, dict(inputs)), strict=True))
        spec.check(outputs, spec.outputs)
        return outputs

    return run


def torch_runner(spec: ModelSpec, module: nn.Module) -> Run:
    """The module itself, with the spec's names."""

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(inputs[name]) for name in spec.input_names))
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        arrays = (np.asarray(output.numpy()) for output in outputs)
        return dict(zip(spec.output_names, arrays, strict=True))

    return run

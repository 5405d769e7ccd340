"""Triton backend `onnxruntime`: ONNX Runtime behind Triton's Python backend.

Runs inside Triton's stub process, once for every model instance; Triton takes this one file for
every model whose `config.pbtxt` says `backend: "onnxruntime"`. It imports NumPy and ONNX Runtime
alone, because every import is paid again by each instance at each start.

requests ─▶ drop the cancelled ─▶ join those of equal shape ─▶ one run a group ─▶ split by rows

Triton drops cancelled requests from its queue by itself; the few that it has taken out of the queue
when they are cancelled get here. To ask whether one was cancelled is a conversation with the server
that costs about 0.3 ms of CPU in all, a fifth of what a small model needs for the request itself.
So only a model that needs much longer asks.

Parameters of `config.pbtxt`, named as in Triton's own ONNX Runtime backend:
    intra_op_thread_count: threads within an operator; 0 or absent takes every core.
    inter_op_thread_count: threads across operators; 0 or absent leaves it to ONNX Runtime.
"""

from paced_start import start as paced_start  # isort: skip - paces the imports below

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

MODEL_FILE = "model.onnx"
# Seconds of work a row from which on it pays to ask whether a request was cancelled.
_WORTH_ASKING_S = 0.005

Tensors = dict[str, NDArray[Any]]
Shapes = tuple[tuple[int, ...], ...]


class TritonPythonModel:
    """One instance of one model version; the name is the one that Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the version's `model.onnx`.

        Args:
            args: Triton's description of the instance; `model_config` is JSON.

        Raises:
            TritonModelException: the file is missing, is no ONNX model, or its tensors' names
                are not those of `config.pbtxt`; the load fails with this text.
        """
        config = json.loads(args["model_config"])
        version_folder = Path(args["model_repository"]) / args["model_version"]
        path = version_folder / (config.get("default_model_filename") or MODEL_FILE)
        if not path.is_file():
            raise pb_utils.TritonModelException(f"{path}: no such file")
        paced_start.rest()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _session_options(config), providers=_providers(args)
            )
        except Exception as error:  # ONNX Runtime's errors share no public base class.
            raise pb_utils.TritonModelException(f"{path}: {error}") from error
        self._input_names = [entry["name"] for entry in config["input"]]
        self._output_names = [entry["name"] for entry in config["output"]]
        _require_same_names(path, "inputs", self._input_names, self._session.get_inputs())
        _require_same_names(path, "outputs", self._output_names, self._session.get_outputs())
        # Seconds that a row of the last run took.
        self._row_s = math.inf
        paced_start.end()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers every request, in order; an error stays with the requests that it concerns.

        Args:
            requests: `pb_utils.InferenceRequest`s whose inputs have the batch on axis 0.
        """
        responses: list[Any] = [None] * len(requests)
        groups: dict[Shapes, list[int]] = {}
        inputs: list[Tensors] = []
        for index, request in enumerate(requests):
            tensors: Tensors = {}
            if self._row_s >= _WORTH_ASKING_S and request.is_cancelled():
                responses[index] = _failure(
                    "cancelled by its caller", pb_utils.TritonError.CANCELLED
                )
            else:
                for name in self._input_names:
                    tensors[name] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                shapes = tuple(tensor.shape[1:] for tensor in tensors.values())
                groups.setdefault(shapes, []).append(index)
            inputs.append(tensors)
        for members in groups.values():
            answers = self._run([inputs[index] for index in members])
            for index, answer in zip(members, answers, strict=True):
                responses[index] = answer
        return responses

    def _run(self, batch: list[Tensors]) -> list[Any]:
        """Runs requests of equal shape as one batch, each on its own if that fails.

        A batch may fail for what one of its requests holds (an index out of range, say); the
        others must not pay for it.
        """
        rows = [next(iter(tensors.values())).shape[0] for tensors in batch]
        joined = batch[0]
        if len(batch) > 1:
            joined = {
                name: np.concatenate([tensors[name] for tensors in batch])
                for name in self._input_names
            }
        began_s = time.perf_counter()
        try:
            outputs = self._session.run(self._output_names, joined)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no public base
            if len(batch) > 1:
                return [response for tensors in batch for response in self._run([tensors])]
            return [_failure(f"ONNX Runtime: {error}", pb_utils.TritonError.INVALID_ARG)]
        self._row_s = (time.perf_counter() - began_s) / sum(rows)
        for name, output in zip(self._output_names, outputs, strict=True):
            if output.ndim == 0 or output.shape[0] != sum(rows):
                text = f"output {name}: shape {output.shape} for a batch of {sum(rows)} rows"
                return [_failure(text, pb_utils.TritonError.INTERNAL) for _ in batch]
        responses = []
        start = 0
        for count in rows:
            end = start + count
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor(name, np.ascontiguousarray(output[start:end]))
                        for name, output in zip(self._output_names, outputs, strict=True)
                    ]
                )
            )
            start = end
        return responses


def _session_options(config: dict[str, Any]) -> onnxruntime.SessionOptions:
    """Thread counts from the parameters; idle threads sleep instead of spinning.

    Spinning buys little for one instance and takes the cores from every other process.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _thread_count(config, "intra_op_thread_count")
    options.inter_op_num_threads = _thread_count(config, "inter_op_thread_count")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _thread_count(config: dict[str, Any], name: str) -> int:
    """A parameter of `config.pbtxt` as a count, 0 without it."""
    entry = config.get("parameters", {}).get(name)
    if entry is None:
        return 0
    text = entry["string_value"]
    if not text.isdecimal():
        raise pb_utils.TritonModelException(
            f"parameter {name}: must be a count of threads, got {text!r}"
        )
    return int(text)


def _providers(args: dict[str, str]) -> list[Any]:
    """ONNX Runtime's execution providers for the instance's kind."""
    if args["model_instance_kind"] != "GPU":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise pb_utils.TritonModelException(
            "instance_group asks for KIND_GPU, but this ONNX Runtime has no CUDA provider"
        )
    device = {"device_id": args["model_instance_device_id"]}
    return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]


def _require_same_names(
    path: Path, side: str, configured: list[str], present: Sequence[Any]
) -> None:
    """Refuses a file whose tensors are not the configured ones."""
    found = sorted(entry.name for entry in present)
    if sorted(configured) != found:
        raise pb_utils.TritonModelException(
            f"{path}: {side} are {found}, config.pbtxt says {sorted(configured)}"
        )


def _failure(text: str, code: int) -> Any:
    """A response that carries an error instead of tensors."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))

"""Several calls' tensors as one batch, and the batch's outputs as theirs again.

Calls of a model join when their tensors have equal shapes behind axis 0. Models that are told by an
attention mask which positions count may be padded: there calls of similar length join, shorter ones
are filled up with zeros (which the mask marks as nothing), and each gets its outputs cut back to
its own length. So a text pays for the length of its neighbours, not for the longest text around.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.context import Context

from serving.coalescing.coalescer import Call
from serving.models.client import ModelOutput, Tensors
from serving.models.manifest import ModelManifest

# The input that says which positions count; its presence makes padding harmless.
MASK = "attention_mask"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One call's inputs."""

    tensors: Tensors
    # Of axis 0.
    rows: int
    # Of the padded axis; 0 for models that cannot be padded.
    length: int
    # Shapes behind axis 0, in the order of the model's inputs; () for models that can be padded.
    shapes: tuple[tuple[int, ...], ...]
    # Of the span that waits for the answer; None while the request is not traced.
    span_context: Context | None = None


ModelCall = Call[Asked, ModelOutput]


class Joining:
    """How calls of one model are joined and split."""

    def __init__(self, manifest: ModelManifest, *, max_padding: int) -> None:
        """Reads off the manifest whether the model can be padded.

        Args:
            manifest: the model's tensors.
            max_padding: positions by which the lengths of two joined calls may differ.
        """
        self._names = [spec.name for spec in manifest.inputs]
        self._padded = any(spec.name == MASK for spec in manifest.inputs)
        self._max_padding = max_padding
        # Axes (batch included) of the outputs that run along the padded one.
        self._long_axes = {
            spec.name: tuple(i + 1 for i, dim in enumerate(spec.dims) if dim == -1)
            for spec in manifest.outputs
        }

    @property
    def padded(self) -> bool:
        """Whether calls of different length may join."""
        return self._padded

    def asked(self, tensors: Tensors, rows: int, span_context: Context | None) -> Asked:
        """One call's inputs, which have been checked against the manifest."""
        return Asked(
            tensors=tensors,
            rows=rows,
            length=tensors[MASK].shape[1] if self._padded else 0,
            shapes=() if self._padded else tuple(tensors[name].shape[1:] for name in self._names),
            span_context=span_context,
        )

    def choose(self, waiting: Sequence[ModelCall], rows: int) -> Sequence[ModelCall]:
        """The most urgent call and those nearest to it in length, up to `rows` rows."""
        if len(waiting) == 1:
            return waiting
        first = min(waiting, key=lambda call: call.deadline.at_s)
        if first.rows >= rows:
            return (first,)
        length, shapes = first.item.length, first.item.shapes
        near = sorted(
            (
                call
                for call in waiting
                if call is not first
                and not call.apart
                and call.item.shapes == shapes
                and abs(call.item.length - length) <= self._max_padding
            ),
            key=lambda call: (abs(call.item.length - length), call.deadline.at_s),
        )
        chosen = [first]
        taken = first.rows
        shortest = longest = length
        for call in near:
            low, high = min(shortest, call.item.length), max(longest, call.item.length)
            # Longer and shorter ones than the first may be too far from each other.
            if taken + call.rows > rows or high - low > self._max_padding:
                continue
            chosen.append(call)
            taken += call.rows
            shortest, longest = low, high
            if taken == rows:
                break
        return chosen

    def join(self, calls: Sequence[ModelCall]) -> dict[str, NDArray[Any]]:
        """The tensors of all calls behind each other on axis 0, padded to the longest."""
        if len(calls) == 1:
            return dict(calls[0].item.tensors)
        length = max(call.item.length for call in calls)
        if all(call.item.length == length for call in calls):
            return {
                name: np.concatenate([call.item.tensors[name] for call in calls])
                for name in self._names
            }
        rows = sum(call.item.rows for call in calls)
        joined: dict[str, NDArray[Any]] = {}
        for name in self._names:
            first = calls[0].item.tensors[name]
            whole = np.zeros((rows, length, *first.shape[2:]), first.dtype)
            start = 0
            for call in calls:
                part = call.item.tensors[name]
                whole[start : start + len(part), : part.shape[1]] = part
                start += len(part)
            joined[name] = whole
        return joined

    def split(self, output: ModelOutput, calls: Sequence[ModelCall]) -> list[ModelOutput]:
        """Each call's rows of the outputs, cut to its length; views of the whole."""
        if len(calls) == 1:
            return [output]
        outputs = []
        start = 0
        for call in calls:
            end = start + call.item.rows
            tensors = {name: whole[start:end] for name, whole in output.tensors.items()}
            if self._padded:
                for name, axes in self._long_axes.items():
                    for axis in axes:
                        cut = (slice(None),) * axis + (slice(call.item.length),)
                        tensors[name] = tensors[name][cut]
            outputs.append(ModelOutput(tensors=tensors, version=output.version))
            start = end
        return outputs

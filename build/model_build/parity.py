"""How far an artifact lies from its source, on held-out samples.

Two kinds of bounds, both in the ModelSpec: the largest absolute difference of an output, and named
figures that say what the outputs are read for (the intent, the direction of a vector, the items).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_build.spec import Arrays, ArtifactKind, ModelSpec, Run
from serving.models.manifest import ParityRecord

Outputs = dict[str, NDArray[Any]]
# Value of a figure for each row of one batch: (sample, source's outputs, artifact's outputs).
Figure = Callable[[Arrays, Outputs, Outputs], NDArray[np.float64]]
_COMPARED_ITEMS = 10
# Label in a sample of `understanding`: int64 [n], position of the intent; negative without one.
INTENT_LABEL = "label.intent"


def check_parity(
    spec: ModelSpec,
    kind: ArtifactKind,
    *,
    artifact: Run,
    source: Run,
    source_name: str,
    samples: Sequence[Arrays],
) -> ParityRecord:
    """Compares an artifact with its source by the spec's tolerances for its kind.

    A sample has the spec's inputs, and may have labels for figures that need them.

    Raises:
        ValueError: there are no samples, or an artifact's output does not fit the spec.
    """
    if not samples:
        raise ValueError(f"{spec.name}: no samples to compare on")
    tolerances = spec.tolerances[kind]
    differences = dict.fromkeys(spec.output_names, 0.0)
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in tolerances.at_least}
    count = 0
    for inputs in samples:
        tensors = {name: inputs[name] for name in spec.input_names}
        want, got = source(tensors), artifact(tensors)
        count += len(next(iter(inputs.values())))
        for name in spec.output_names:
            differences[name] = max(differences[name], _difference(want[name], got[name]))
        for name, values in rows.items():
            values.append(FIGURES[name](inputs, want, got))
    figures = {
        name: float(np.min(np.concatenate(values)))
        if name.startswith("lowest_")
        else float(np.mean(np.concatenate(values)))
        for name, values in rows.items()
    }
    passed = all(
        differences[name] <= bound for name, bound in tolerances.max_abs_difference.items()
    ) and all(figures[name] >= bound for name, bound in tolerances.at_least.items())
    return ParityRecord(
        artifact=kind,
        source=source_name,
        samples=count,
        max_abs_difference=differences,
        figures=figures,
        tolerances={
            **{f"max_abs_difference.{k}": v for k, v in tolerances.max_abs_difference.items()},
            **{f"at_least.{k}": v for k, v in tolerances.at_least.items()},
        },
        passed=passed,
    )


def describe(record: ParityRecord) -> str:
    """What was measured, with the bounds: one line."""
    parts = []
    for bound_name, bound in record.tolerances.items():
        kind, name = bound_name.split(".", 1)
        if kind == "at_least":
            parts.append(f"{name} {record.figures[name]:.4f} (at least {bound:g})")
        else:
            value = record.max_abs_difference[name]
            parts.append(f"difference of {name} {value:.2g} (at most {bound:g})")
    return f"{record.artifact} against {record.source}: " + ", ".join(parts)


def _difference(want: NDArray[Any], got: NDArray[Any]) -> float:
    """Largest absolute difference; infinite where shapes differ or a number is not finite."""
    if want.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(want.astype(np.float64) - got).max(initial=0.0))


def _same_class(name: str) -> Figure:
    """1 where the largest logit is the same."""

    def figure(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
        return np.asarray(want[name].argmax(-1) == got[name].argmax(-1), np.float64)

    return figure


def _same_intent(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """1 where the intent is the same, for utterances that the source takes for the shop's.

    Of out-of-scope talk the intent is never read, and hardly decided.
    """
    same = _same_class("intent_logits")(inputs, want, got)
    return np.asarray(same[want["out_of_scope_logit"][:, 0] <= 0])


def _accuracy_kept(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """1 where both are right or both wrong, 2 where only the artifact is right, 0 where it fell.

    The mean is 1 less the loss of accuracy. Rows without a label are left out.
    """
    labels = inputs[INTENT_LABEL]
    known = labels >= 0
    was_right, is_right = (
        (outputs["intent_logits"].argmax(-1) == labels)[known].astype(np.float64)
        for outputs in (want, got)
    )
    return np.asarray(1.0 + is_right - was_right)


def _same_tags(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """1 for each real token with the same tag."""
    same = want["slot_logits"].argmax(-1) == got["slot_logits"].argmax(-1)
    return np.asarray(same[inputs["attention_mask"] == 1], np.float64)


def _same_sign(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """1 where the utterance falls on the same side of "out of scope"."""
    name = "out_of_scope_logit"
    return np.asarray((want[name] > 0) == (got[name] > 0), np.float64)[:, 0]


def _cosine(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """Cosine of the two vectors; both are of unit length."""
    return np.asarray((want["embedding"].astype(np.float64) * got["embedding"]).sum(-1))


def _same_items(inputs: Arrays, want: Outputs, got: Outputs) -> NDArray[np.float64]:
    """Share of the first ten items that both have."""
    pairs = zip(want["item_indexes"], got["item_indexes"], strict=True)
    shares = [
        len(set(a[:_COMPARED_ITEMS].tolist()) & set(b[:_COMPARED_ITEMS].tolist()))
        / min(_COMPARED_ITEMS, len(a))
        for a, b in pairs
    ]
    return np.array(shares)


# A name that begins with "lowest_" takes the lowest row, every other the mean.
FIGURES: dict[str, Figure] = {
    "intent_accuracy_kept": _accuracy_kept,
    "intent_agreement": _same_intent,
    "sentiment_agreement": _same_class("sentiment_logits"),
    "slot_tag_agreement": _same_tags,
    "out_of_scope_agreement": _same_sign,
    "mean_cosine": _cosine,
    "lowest_cosine": _cosine,
    "top_10_agreement": _same_items,
}

"""Gate `parity`: does what a version serves do what it was made from, on held-out samples?

The build has measured this; the gate measures it again on the files as they are published, with the
bounds of the spec. An fp32 export was made from weights that are not published: there the record of
the build holds, since the files are still those that it lists, and the gate looks whether all its
answers are sound.
"""

from collections.abc import Sequence

import numpy as np

from model_build.parity import check_parity, describe
from model_build.promotion.finding import Finding
from model_build.promotion.held_out.evaluation import (
    Evaluation,
    Misbehaved,
    Sample,
    runner,
    served,
    spec_of,
)
from model_build.spec import Arrays, Run
from serving.models.manifest import ParityRecord
from serving.models.repository import PublishedVersion
from serving.versions.verdict import MOST_EXAMPLES, Figure, Outcome

_SOURCE = "onnx"


def judge_parity(version: PublishedVersion, evaluation: Evaluation) -> Finding:
    """Measures a version whose files have been verified.

    Raises:
        StartupError: an artifact or asset of the version is unusable; names it.
    """
    samples = evaluation.samples(version)
    try:
        if version.manifest.served_artifact == _SOURCE:
            return _of_export(version, samples)
        return _against_source(version, samples)
    except Misbehaved as error:
        return Finding(outcome=Outcome.FAILED, reason=f"{_sentence(error.message)}.")


def _against_source(version: PublishedVersion, samples: Sequence[Sample]) -> Finding:
    manifest, spec = version.manifest, spec_of(version)
    if all(artifact.kind != _SOURCE for artifact in manifest.artifacts):
        return Finding(
            outcome=Outcome.UNDECIDED,
            reason=f"{manifest.served_artifact} is served, and its source is not published with "
            "it, so that there is nothing to compare it with.",
        )
    artifact, source = served(version), runner(version, _SOURCE)
    record = check_parity(
        spec,
        manifest.served_artifact,
        artifact=artifact,
        source=source,
        source_name=_SOURCE,
        samples=[sample.inputs for sample in samples],
    )
    return Finding(
        outcome=Outcome.PASSED if record.passed else Outcome.FAILED,
        reason=f"On {record.samples} samples, {describe(record)}.",
        figures=tuple(_figures(record)),
        examples=() if record.passed else _furthest(spec.input_names, artifact, source, samples),
    )


def _of_export(version: PublishedVersion, samples: Sequence[Sample]) -> Finding:
    """Runs the export, and goes by the record of its build."""
    run, spec = served(version), spec_of(version)
    for sample in samples:
        run(_tensors(spec.input_names, sample.inputs))
    rows = sum(len(sample.names) for sample in samples)
    record = next((r for r in version.manifest.parity if r.artifact == _SOURCE), None)
    if record is None:
        return Finding(
            outcome=Outcome.UNDECIDED,
            reason="The fp32 export is served, its source is not published, and the manifest has "
            f"no record of a comparison. All answers to {rows} samples are sound.",
        )
    return Finding(
        outcome=Outcome.PASSED if record.passed else Outcome.FAILED,
        reason=f"The fp32 export is served. When it was built, on {record.samples} samples, "
        f"{describe(record)}; its file is unchanged, and all answers to {rows} samples are sound.",
        figures=tuple(_figures(record)),
    )


def _figures(record: ParityRecord) -> list[Figure]:
    """Every figure that has a bound."""
    figures = []
    for bound_name, bound in record.tolerances.items():
        kind, name = bound_name.split(".", 1)
        if kind == "at_least":
            figures.append(Figure(name=name, value=record.figures[name], at_least=bound))
        else:
            value = record.max_abs_difference[name]
            figures.append(
                Figure(
                    name=f"largest_difference_of_{name}",
                    value=value if np.isfinite(value) else None,
                    at_most=bound,
                )
            )
    return figures


def _furthest(
    names: Sequence[str], artifact: Run, source: Run, samples: Sequence[Sample]
) -> tuple[str, ...]:
    """The samples whose outputs lie furthest apart, the furthest first."""
    found: list[tuple[float, str]] = []
    for sample in samples:
        tensors = _tensors(names, sample.inputs)
        want, got = source(tensors), artifact(tensors)
        for row, name in enumerate(sample.names):
            far, output = max(
                (float(np.abs(want[output][row] - got[output][row]).max(initial=0.0)), output)
                for output in want
            )
            found.append((far, f"{name}: {output} differs by {far:.3g}"))
    found.sort(key=lambda pair: -pair[0])
    return tuple(text for _, text in found[:MOST_EXAMPLES])


def _tensors(names: Sequence[str], inputs: Arrays) -> Arrays:
    """Without labels."""
    return {name: inputs[name] for name in names}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")

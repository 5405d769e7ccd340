"""The gate of parity: a served artifact against what it was made from."""

from pathlib import Path

import numpy as np
import pytest

from model_build.promotion.finding import Finding
from model_build.promotion.held_out.decision import DecisionEvaluation
from model_build.promotion.held_out.evaluation import Misbehaved, Sample, runner, served
from model_build.promotion.parity import judge_parity
from model_build.train.decision_turns import simulate_turns
from serving.errors import StartupError
from serving.models.repository import PublishedVersion
from serving.versions.verdict import MOST_EXAMPLES, Figure, Outcome
from tests.fakes.promotion import (
    FEATURES,
    FixedEvaluation,
    built_with_parity,
    fitted_weights,
    publish_decision,
    publish_encoder,
)

TURNS = simulate_turns(600, np.random.default_rng(1))
WEIGHTS = fitted_weights(TURNS)
TABLE = np.random.default_rng(2).normal(size=(50, 384)).astype(np.float32)


def tokens(rows: int = 40) -> FixedEvaluation:
    """Token rows for the tiny encoder, eight a batch."""
    rng = np.random.default_rng(4)
    return FixedEvaluation(
        given=[
            Sample(
                inputs={
                    "input_ids": rng.integers(1, 50, (8, 6)),
                    "attention_mask": np.ones((8, 6), np.int64),
                },
                names=tuple(f"text {start + row}" for row in range(8)),
            )
            for start in range(0, rows, 8)
        ]
    )


def figure(finding: Finding, name: str) -> Figure:
    return next(f for f in finding.figures if f.name == name)


def test_an_artifact_that_does_what_its_source_does_passes(tmp_path: Path) -> None:
    version = publish_encoder(tmp_path, 1, TABLE, TABLE + 0.01)
    finding = judge_parity(version, tokens())
    assert finding.outcome is Outcome.PASSED
    assert finding.reason.startswith("On 40 samples, onnx-int8 against onnx: mean_cosine 0.999")
    assert figure(finding, "mean_cosine").at_least == 0.985
    assert finding.examples == ()


def test_a_damaged_artifact_fails_and_names_the_samples_it_damages(tmp_path: Path) -> None:
    damaged = TABLE.copy()
    damaged[7] *= -20.0
    version = publish_encoder(tmp_path, 1, TABLE, damaged)
    evaluation = tokens()
    finding = judge_parity(version, evaluation)
    assert finding.outcome is Outcome.FAILED
    assert figure(finding, "lowest_cosine").value < 0.5
    hit = {
        name
        for sample in evaluation.given
        for name, ids in zip(sample.names, sample.inputs["input_ids"], strict=True)
        if 7 in ids
    }
    assert 0 < len(hit) <= len(finding.examples) <= MOST_EXAMPLES
    assert {text.split(":")[0] for text in finding.examples[: len(hit)]} == hit
    assert "embedding differs by 0." in finding.examples[0]


def test_an_artifact_without_its_source_is_undecided(tmp_path: Path) -> None:
    version = publish_encoder(tmp_path, 1, TABLE, TABLE)
    served_alone = [a for a in version.manifest.artifacts if a.kind == "onnx-int8"]
    changed = version.manifest.model_copy(update={"artifacts": tuple(served_alone)})
    changed.write(version.folder)
    finding = judge_parity(PublishedVersion(version.folder), tokens())
    assert finding.outcome is Outcome.UNDECIDED
    assert "its source is not published" in finding.reason


def test_an_export_goes_by_the_record_of_its_build(tmp_path: Path) -> None:
    version = publish_decision(tmp_path, 1, WEIGHTS)
    evaluation = DecisionEvaluation(TURNS)
    assert judge_parity(version, evaluation).outcome is Outcome.UNDECIDED
    finding = judge_parity(built_with_parity(version), evaluation)
    assert finding.outcome is Outcome.PASSED
    assert "on 99 samples" in finding.reason
    assert "all answers to 512 samples are sound" in finding.reason
    bound = figure(finding, "largest_difference_of_action_probabilities")
    assert (bound.value, bound.at_most) == (1e-6, 1e-4)


def test_an_export_with_answers_that_are_no_numbers_fails(tmp_path: Path) -> None:
    weights = WEIGHTS.copy()
    weights[0, 0] = np.nan
    version = built_with_parity(publish_decision(tmp_path, 3, weights))
    finding = judge_parity(version, DecisionEvaluation(TURNS))
    assert finding.outcome is Outcome.FAILED
    assert finding.reason == "Version 3: action_probabilities holds NaN or infinity."


def test_what_a_version_answers_is_checked_against_its_manifest(tmp_path: Path) -> None:
    version = publish_decision(tmp_path, 1, WEIGHTS)
    run = served(version)
    assert run({"features": np.zeros((2, FEATURES), np.float32)})["purchase_propensity"].shape == (
        2,
        1,
    )
    with pytest.raises(Misbehaved, match="version 1 cannot answer: decision: features is float64"):
        run({"features": np.zeros((2, FEATURES))})
    with pytest.raises(StartupError, match=r"manifest\.json: artifacts: lists no onnx-int8"):
        runner(version, "onnx-int8")
    (version.folder / "model.onnx").write_text("no graph")
    with pytest.raises(StartupError, match=r"model\.onnx: cannot be run"):
        served(version)

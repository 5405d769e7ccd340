"""The gate of quality: a version against the live one on held-out samples."""

from pathlib import Path

import numpy as np
import pytest

from model_build.promotion.finding import Finding, together
from model_build.promotion.held_out import candidates, decision, encoder, ranker, understanding
from model_build.promotion.held_out.decision import DecisionEvaluation
from model_build.promotion.held_out.evaluation import Misbehaved, Quality
from model_build.promotion.paired import Scores, compare
from model_build.promotion.quality import judge_quality
from model_build.specs import SPECS
from model_build.train.decision_turns import simulate_turns
from serving.errors import StartupError
from serving.versions.verdict import MOST_EXAMPLES, Figure, Outcome
from tests.fakes.promotion import FixedEvaluation, fitted_weights, publish_decision

TURNS = simulate_turns(1500, np.random.default_rng(1))
WEIGHTS = fitted_weights(TURNS)


def figure(finding: Finding, name: str) -> Figure:
    return next(f for f in finding.figures if f.name == name)


def test_a_version_is_no_worse_than_itself(tmp_path: Path) -> None:
    live, again = (publish_decision(tmp_path, n, WEIGHTS) for n in (1, 2))
    finding = judge_quality(again, live, DecisionEvaluation(TURNS))
    assert finding.outcome is Outcome.PASSED
    assert finding.examples == ()
    assert figure(finding, "action_accuracy").value > 0.5
    assert figure(finding, "action_accuracy_change").value == 0.0
    assert finding.reason.startswith("No worse on 1500 simulated turns, 95% confidence: action")


def test_a_damaged_version_fails_by_how_much_and_on_what(tmp_path: Path) -> None:
    live = publish_decision(tmp_path, 1, WEIGHTS)
    damaged = publish_decision(tmp_path, 2, np.roll(WEIGHTS, 1, axis=1))
    finding = judge_quality(damaged, live, DecisionEvaluation(TURNS))
    assert finding.outcome is Outcome.FAILED
    change = figure(finding, "action_accuracy_change")
    assert change.value < change.high < -0.3
    assert f"{change.value:+.3f}" in finding.reason
    assert len(finding.examples) == MOST_EXAMPLES
    assert finding.examples[0].startswith("turn ")
    assert judge_quality(live, damaged, DecisionEvaluation(TURNS)).outcome is Outcome.PASSED


def test_on_few_samples_nothing_is_decided(tmp_path: Path) -> None:
    few = simulate_turns(30, np.random.default_rng(5))
    live, again = (publish_decision(tmp_path, n, WEIGHTS) for n in (1, 2))
    finding = judge_quality(again, live, DecisionEvaluation(few))
    assert finding.outcome is Outcome.UNDECIDED
    assert finding.reason.startswith("Too few samples to tell on 30 simulated turns")


def test_a_version_that_may_know_the_samples_cannot_pass_but_fail(tmp_path: Path) -> None:
    live, again, damaged = (
        publish_decision(tmp_path, n, np.roll(WEIGHTS, n // 3, axis=1)) for n in (1, 2, 3)
    )
    doubts, remarks = ["It may know them."], ["So may the other."]
    evaluation = DecisionEvaluation(TURNS)
    finding = judge_quality(again, live, evaluation, doubts, remarks)
    assert finding.outcome is Outcome.UNDECIDED
    assert finding.reason.endswith(" It may know them. So may the other.")
    assert judge_quality(damaged, live, evaluation, doubts).outcome is Outcome.FAILED
    assert judge_quality(again, live, evaluation, (), remarks).outcome is Outcome.PASSED


def test_whoever_does_not_answer_is_held_to_it(tmp_path: Path) -> None:
    live, candidate = (publish_decision(tmp_path, n, WEIGHTS) for n in (1, 2))
    broken = FixedEvaluation(found=Misbehaved("version 2 cannot answer: it is ill", 2))
    finding = judge_quality(candidate, live, broken)
    assert finding.outcome is Outcome.FAILED
    assert finding.reason == "Version 2 cannot answer: it is ill."
    with pytest.raises(StartupError, match="decision: version 1 cannot answer"):
        judge_quality(
            candidate, live, FixedEvaluation(found=Misbehaved("version 1 cannot answer", 1))
        )


def test_examples_come_from_what_failed_first(tmp_path: Path) -> None:
    right, wrong = Scores.mean_of(np.ones(400)), Scores.mean_of(np.zeros(400))
    found = Quality(
        basis="400 samples",
        comparisons=(
            compare("good", right, right, margin=0.03),
            compare("bad", wrong, right, margin=0.03),
            compare("worst", wrong, right, margin=0.01),
        ),
        lost={
            "good": [f"g{i}" for i in range(30)],
            "bad": ["b0", "b1", "both"],
            "worst": ["w0", "both"],
        },
    )
    live, candidate = (publish_decision(tmp_path, n, WEIGHTS) for n in (1, 2))
    finding = judge_quality(candidate, live, FixedEvaluation(found=found))
    assert finding.examples[:5] == ("w0", "b0", "both", "b1", "g0")
    assert len(finding.examples) == MOST_EXAMPLES
    assert "good" not in finding.reason


@pytest.mark.parametrize(
    ("outcomes", "all_in_all"),
    [
        ("passed passed", Outcome.PASSED),
        ("passed undecided", Outcome.UNDECIDED),
        ("undecided failed passed", Outcome.FAILED),
    ],
)
def test_all_must_pass_and_one_is_enough_to_fail(outcomes: str, all_in_all: Outcome) -> None:
    assert together(map(Outcome, outcomes.split())) is all_in_all


def test_every_model_has_a_margin_for_what_its_gate_measures() -> None:
    margins = {
        "understanding": understanding.MARGINS,
        "encoder": {"mean_reciprocal_rank": encoder.MARGIN},
        "candidates": candidates.MARGINS,
        "ranker": ranker.MARGINS,
        "decision": decision.MARGINS,
    }
    assert margins.keys() == SPECS.keys()
    assert understanding.MARGINS.keys() == understanding.SCORES.keys()
    assert all(0 < margin <= 0.05 for of_model in margins.values() for margin in of_model.values())

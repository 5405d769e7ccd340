from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import ModelContractViolated
from serving.features import DecisionFeatures
from serving.models.client import Tensors
from serving.steps.decide import (
    FACTORS_SHOWN,
    LARGEST_LOG_ODDS,
    Decide,
    DecideInput,
    decision_by_rule,
)
from serving.types import Action
from tests.fakes.models import DECISION_WEIGHTS, Function, InMemoryModels, decide_linearly

NAMES = DecisionFeatures.names()
ZEROS = [0.0] * len(NAMES)


def context() -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(5000))


def two_way(weights: dict[str, float], bias: float) -> Function:
    """ESCALATE against ANSWER by a linear log-odds, so that every contribution is known exactly."""
    vector = np.zeros(len(NAMES), np.float32)
    for name, weight in weights.items():
        vector[NAMES.index(name)] = weight

    def infer(inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        p = 1.0 / (1.0 + np.exp(-(inputs["features"] @ vector + bias)))
        probabilities = np.zeros((len(p), len(Action)), np.float32)
        probabilities[:, tuple(Action).index(Action.ESCALATE)] = p
        probabilities[:, tuple(Action).index(Action.ANSWER)] = 1.0 - p
        return {
            "action_probabilities": probabilities,
            "purchase_propensity": np.full((len(p), 1), 0.25, np.float32),
        }

    return infer


async def test_on_a_linear_model_the_factors_are_weight_times_distance_from_the_mean() -> None:
    weights = {
        "negative_probability": 2.0,
        "failures_in_a_row": 0.5,
        "asks_for_human": -1.0,
        "log_turns": 0.25,
    }
    means = list(ZEROS)
    means[NAMES.index("failures_in_a_row")] = 2.0
    means[NAMES.index("log_turns")] = 1.0
    features = DecisionFeatures(
        negative_probability=0.8, failures_in_a_row=1.0, asks_for_human=1.0, log_turns=3.0
    )
    models = InMemoryModels({"decision": two_way(weights, bias=0.5)})
    decision = await Decide(models, means)(DecideInput(features=features), context())
    assert decision.action is Action.ESCALATE
    assert decision.purchase_propensity == pytest.approx(0.25)
    # By size: 2 * 0.8, -1 * 1, 0.25 * (3 - 1), 0.5 * (1 - 2).
    found = {factor.name: factor for factor in decision.factors}
    assert list(found)[:2] == ["negative_probability", "asks_for_human"]
    assert found["negative_probability"].contribution == pytest.approx(1.6, abs=1e-4)
    assert found["asks_for_human"].contribution == pytest.approx(-1.0, abs=1e-4)
    assert found["log_turns"].contribution == pytest.approx(0.5, abs=1e-4)
    assert found["failures_in_a_row"].contribution == pytest.approx(-0.5, abs=1e-4)
    assert found["failures_in_a_row"].value == 1.0


async def test_all_occlusions_travel_in_one_batch_of_one_row_a_feature_and_the_whole() -> None:
    models = InMemoryModels({"decision": decide_linearly})
    means = [float(i) for i in range(len(NAMES))]
    features = DecisionFeatures(items_found=1.0, log_carts=2.0)
    await Decide(models, means)(DecideInput(features=features), context())
    ((_, inputs),) = models.calls
    rows = inputs["features"]
    assert rows.shape == (len(NAMES) + 1, len(NAMES))
    assert rows.dtype == np.float32
    assert np.array_equal(rows[0], features.vector())
    for i in range(len(NAMES)):
        expected = features.vector()
        expected[i] = means[i]
        assert np.array_equal(rows[i + 1], expected)


async def test_at_most_five_factors_and_none_without_effect() -> None:
    models = InMemoryModels({"decision": decide_linearly})
    everything = DecisionFeatures(**dict.fromkeys(NAMES, 1.0))
    decide = Decide(models, ZEROS)
    many = await decide(DecideInput(features=everything), context())
    assert len(many.factors) == FACTORS_SHOWN
    sizes = [abs(factor.contribution) for factor in many.factors]
    assert sizes == sorted(sizes, reverse=True)
    none = await decide(DecideInput(features=DecisionFeatures()), context())
    assert none.factors == ()


async def test_an_impossible_action_is_not_chosen_and_the_probability_stays_the_models() -> None:
    models = InMemoryModels({"decision": decide_linearly})
    decide = Decide(models, ZEROS)
    features = DecisionFeatures(
        items_found=1.0, answer_known=1.0, best_passage_score=0.4, intent_confidence=0.5
    )
    free = await decide(DecideInput(features=features), context())
    assert free.action is Action.RECOMMEND
    bound = await decide(
        DecideInput(
            features=features, possible=frozenset(Action) - {Action.RECOMMEND, Action.OFFER}
        ),
        context(),
    )
    assert bound.action is Action.ANSWER
    assert bound.probability < free.probability
    speaking_for_it = {f.name for f in bound.factors if f.contribution > 0}
    assert speaking_for_it == set(DECISION_WEIGHTS[Action.ANSWER])


async def test_certainty_gives_finite_contributions() -> None:
    models = InMemoryModels({"decision": two_way({"asks_for_human": 80.0}, bias=-40.0)})
    features = DecisionFeatures(asks_for_human=1.0)
    decision = await Decide(models, ZEROS)(DecideInput(features=features), context())
    assert decision.probability == 1.0
    (factor,) = decision.factors
    assert factor.contribution == pytest.approx(2 * LARGEST_LOG_ODDS)


async def test_probabilities_that_are_none_are_refused() -> None:
    def broken(inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        outputs = decide_linearly(inputs)
        return {**outputs, "action_probabilities": outputs["action_probabilities"] * np.nan}

    models = InMemoryModels({"decision": broken})
    with pytest.raises(ModelContractViolated, match="action_probabilities"):
        await Decide(models, ZEROS)(DecideInput(features=DecisionFeatures()), context())


def test_a_decision_by_rule_names_the_rule_and_is_certain() -> None:
    decision = decision_by_rule(Action.ESCALATE, "two failures in a row")
    assert decision.probability == 1.0
    assert [factor.name for factor in decision.factors] == ["two failures in a row"]
    assert replace(decision, factors=()).purchase_propensity == 0.0

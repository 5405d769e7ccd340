"""What is known of a turn to what the agent does next, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.features import DecisionFeatures
from serving.models.client import ModelClient
from serving.steps.outputs import finite
from serving.types import Action, Decision, Factor

MODEL = "decision"
FACTORS_SHOWN = 5
# Probabilities are kept this far from 0 and 1 before their log-odds are taken.
SMALLEST_PROBABILITY = 1e-6
LARGEST_LOG_ODDS = float(np.log((1.0 - SMALLEST_PROBABILITY) / SMALLEST_PROBABILITY))


@dataclass(frozen=True, kw_only=True)
class DecideInput:
    """What the step is asked."""

    features: DecisionFeatures
    # Actions that the turn can carry out, e.g. no RECOMMEND without items.
    possible: frozenset[Action] = frozenset(Action)


def decision_by_rule(action: Action, rule: str) -> Decision:
    """A decision that no model was asked for; the rule is its one factor, and decides alone."""
    factor = Factor(name=rule, value=1.0, contribution=LARGEST_LOG_ODDS)
    return Decision(action=action, probability=1.0, factors=(factor,))


class Decide:
    """Runs the decision model, and explains its choice by occlusion.

    Each feature in turn is replaced by its mean over the training data; how far the log-odds of the
    chosen action fall without the feature is its contribution (Zeiler, Fergus, "Visualizing and
    Understanding Convolutional Networks", 2014, for inputs of any kind). All rows make one batch.
    """

    def __init__(self, client: ModelClient, means: Sequence[float]) -> None:
        """`means` are the features' means in the order of `DecisionFeatures`."""
        self._client = client
        self._means = np.array(means, np.float32)

    async def __call__(self, request: DecideInput, context: RequestContext) -> Decision:
        """The likeliest of the possible actions, with the model's probability of it.

        Raises:
            CartwrightError: as `ModelClient.infer`.
        """
        vector = request.features.vector()
        rows = np.tile(vector, (len(vector) + 1, 1))
        occluded = np.arange(len(vector))
        rows[occluded + 1, occluded] = self._means
        output = await self._client.infer(MODEL, {"features": rows}, context)
        probabilities = finite(MODEL, output, "action_probabilities", (len(rows), len(Action)))
        propensity = finite(MODEL, output, "purchase_propensity", (len(rows), 1))[0, 0]
        actions = tuple(Action)
        possible = [i for i, action in enumerate(actions) if action in request.possible]
        best = max(possible, key=lambda i: float(probabilities[0, i]))
        log_odds = _log_odds(probabilities[:, best])
        return Decision(
            action=actions[best],
            probability=float(np.clip(probabilities[0, best], 0.0, 1.0)),
            purchase_propensity=float(np.clip(propensity, 0.0, 1.0)),
            factors=_largest(vector, log_odds[0] - log_odds[1:]),
        )


def _log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped = np.clip(
        probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY
    )
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _largest(vector: NDArray[np.float32], contributions: NDArray[np.float64]) -> tuple[Factor, ...]:
    """The features that changed the log-odds most, by size; those without effect are left out."""
    order = np.argsort(-np.abs(contributions), kind="stable")[:FACTORS_SHOWN].tolist()
    names = DecisionFeatures.names()
    return tuple(
        Factor(name=names[i], value=float(vector[i]), contribution=float(contributions[i]))
        for i in order
        if contributions[i] != 0.0
    )

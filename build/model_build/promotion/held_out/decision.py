"""`decision` on simulated turns that no training has seen, as its training measures it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_build.promotion.held_out.evaluation import Quality, Sample, served
from model_build.promotion.paired import Scores, compare
from model_build.train.decision_turns import SimulatedTurns
from serving.features import DecisionFeatures
from serving.models.repository import PublishedVersion
from serving.types import Action

# Shares, and nats of log loss.
MARGINS = {"action_accuracy": 0.015, "action_log_loss": 0.02, "purchase_log_loss": 0.02}
_BATCH = 64
_MOST_SAMPLES = 512
_SMALLEST_PROBABILITY = 1e-7
_ACTIONS = tuple(Action)


class DecisionEvaluation:
    """Turns with what turned out best, and who bought."""

    def __init__(self, turns: SimulatedTurns) -> None:
        self._turns = turns

    def samples(self, version: PublishedVersion) -> list[Sample]:
        """Turns in batches."""
        return _batches(self._turns.features[:_MOST_SAMPLES])

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """Accuracy and log loss of the action, log loss of a purchase; paired by turn."""
        ours, theirs = self._figures(candidate), self._figures(live)
        comparisons = tuple(
            compare(
                name,
                Scores.mean_of(ours[name]),
                Scores.mean_of(theirs[name]),
                margin=margin,
                lower_is_better=name.endswith("_loss"),
            )
            for name, margin in MARGINS.items()
        )
        worse = {
            c.name: (ours[c.name] - theirs[c.name]) * (-1.0 if c.lower_is_better else 1.0)
            for c in comparisons
        }
        return Quality(
            basis=f"{len(self._turns.features)} simulated turns",
            comparisons=comparisons,
            lost={
                name: [
                    f"{self._describe(i)}: {name} {ours[name][i]:.2f}; live: {theirs[name][i]:.2f}"
                    for i in np.argsort(by, kind="stable")
                    if by[i] < 0
                ]
                for name, by in worse.items()
            },
        )

    def _figures(self, version: PublishedVersion) -> dict[str, NDArray[np.float64]]:
        """Each figure of each turn, float64 [n]."""
        run = served(version)
        outputs = [run(sample.inputs) for sample in _batches(self._turns.features)]
        action = np.concatenate([o["action_probabilities"] for o in outputs]).astype(np.float64)
        purchase = np.concatenate([o["purchase_propensity"][:, 0] for o in outputs])
        best, bought = self._turns.best_action, self._turns.bought == 1
        likely = np.where(bought, purchase, 1.0 - purchase.astype(np.float64))
        return {
            "action_accuracy": (action.argmax(1) == best).astype(np.float64),
            "action_log_loss": _log_loss(action[np.arange(len(best)), best]),
            "purchase_log_loss": _log_loss(likely),
        }

    def _describe(self, row: int) -> str:
        """A turn by what is known in it, and what was best."""
        named = zip(DecisionFeatures.names(), self._turns.features[row].tolist(), strict=True)
        known = ", ".join(f"{name}={value:.2g}" for name, value in named if value)
        best = _ACTIONS[int(self._turns.best_action[row])]
        return f"turn {row} ({known}; best: {best})"


def _log_loss(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.log(np.clip(probabilities, _SMALLEST_PROBABILITY, None)))


def _batches(features: NDArray[np.float32]) -> list[Sample]:
    return [
        Sample(
            inputs={"features": features[start : start + _BATCH]},
            names=_names(range(start, min(start + _BATCH, len(features)))),
        )
        for start in range(0, len(features), _BATCH)
    ]


def _names(rows: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"turn {row}" for row in rows)

"""Trains `decision`: a small network from a turn's features to the next action and to a purchase.

It learns from simulated turns (`decision_turns`) and is calibrated by temperatures on held-out ones
(Guo et al. 2017). Gradient-boosted trees learn from the same turns, and both are reported.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from model_build.progress import Tracker
from model_build.specs.decision import SPEC
from model_build.train import calibration
from model_build.train.calibration import Floats, expected_calibration_error
from model_build.train.decision_turns import SimulatedTurns, simulate_turns
from model_build.train.trained import TrainedModel, batches_of, sample_rows
from serving.features import DecisionFeatures
from serving.types import Action

# Turns of each, beside those to learn from: to fit the temperatures, and to report on.
_HELD_OUT = 6_000
_PARITY_SAMPLES = 512
_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True, kw_only=True)
class DecisionSettings:
    """How much and how long to train."""

    turns: int
    epochs: int
    batch_size: int = 256
    learning_rate: float = 2e-3
    width: int = 48


class DecisionNetwork(nn.Module):
    """Standardises, two hidden layers, two heads; the temperatures are part of the graph."""

    means: Tensor
    scales: Tensor
    action_temperature: Tensor
    purchase_temperature: Tensor

    def __init__(self, means: Tensor, scales: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("scales", scales)
        self.register_buffer("action_temperature", torch.ones(()))
        self.register_buffer("purchase_temperature", torch.ones(()))
        self.body = nn.Sequential(
            nn.Linear(len(means), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.action = nn.Linear(width, len(Action))
        self.purchase = nn.Linear(width, 1)

    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, 22] -> logits of the actions [n, 6] and of a purchase [n, 1]."""
        hidden = self.body((features - self.means) / self.scales)
        return (
            self.action(hidden) / self.action_temperature,
            self.purchase(hidden) / self.purchase_temperature,
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, 22] -> probabilities of the actions [n, 6] and of a purchase [n, 1]."""
        action, purchase = self.logits(features)
        return torch.softmax(action, dim=-1), torch.sigmoid(purchase)


def train_decision(
    settings: DecisionSettings, rng: np.random.Generator, tracker: Tracker
) -> TrainedModel:
    """Trains, calibrates, and compares with gradient-boosted trees."""
    turns = simulate_turns(settings.turns, rng)
    calibrating, judged = simulate_turns(_HELD_OUT, rng), simulate_turns(_HELD_OUT, rng)
    torch.manual_seed(int(rng.integers(2**31)))
    means = turns.features.mean(0)
    scales = np.maximum(turns.features.std(0), np.float32(1e-3))
    model = DecisionNetwork(torch.from_numpy(means), torch.from_numpy(scales), settings.width)
    _fit(model, turns, settings, rng, tracker)
    model.eval()
    _calibrate(model, calibrating)
    with torch.inference_mode():
        action, purchase = model(torch.from_numpy(judged.features))
    features = {
        "names": list(DecisionFeatures.names()),
        "means": [round(float(v), 6) for v in means],
        "scales": [round(float(v), 6) for v in scales],
    }
    sample = judged.features[sample_rows(rng, len(judged.features), _PARITY_SAMPLES)]
    return TrainedModel(
        spec=SPEC,
        module=model,
        samples=batches_of({"features": sample}, 64),
        assets={"features.json": (json.dumps(features, indent=2) + "\n").encode()},
        metrics=_figures(judged, action.numpy(), purchase[:, 0].numpy()),
        baseline_metrics=_majority(turns, judged)
        | {f"boosted_trees.{k}": v for k, v in _boosted_trees(turns, judged).items()}
        | {
            "least_possible.action_log_loss": judged.least_action_loss,
            "least_possible.purchase_log_loss": judged.least_purchase_loss,
        },
        config={"training_turns": settings.turns},
    )


def _fit(
    model: DecisionNetwork,
    turns: SimulatedTurns,
    settings: DecisionSettings,
    rng: np.random.Generator,
    tracker: Tracker,
) -> None:
    batches_per_epoch = -(-settings.turns // settings.batch_size)
    steps = settings.epochs * batches_per_epoch
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate * 3, total_steps=steps
    )
    model.train()
    for features, best, bought in tracker.track(
        _batches(turns, settings, rng), "decision: training", steps
    ):
        action, purchase = model.logits(features)
        loss = functional.cross_entropy(action, best) + functional.binary_cross_entropy_with_logits(
            purchase[:, 0], bought
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _batches(
    turns: SimulatedTurns, settings: DecisionSettings, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    features = torch.from_numpy(turns.features)
    best = torch.from_numpy(turns.best_action)
    bought = torch.from_numpy(turns.bought.astype(np.float32))
    for _ in range(settings.epochs):
        order = torch.from_numpy(rng.permutation(len(features)))
        for rows in torch.split(order, settings.batch_size):
            yield features[rows], best[rows], bought[rows]


def _calibrate(model: DecisionNetwork, turns: SimulatedTurns) -> None:
    with torch.inference_mode():
        action, purchase = model.logits(torch.from_numpy(turns.features))
    model.action_temperature.fill_(calibration.fit_multiclass(action.numpy(), turns.best_action))
    model.purchase_temperature.fill_(calibration.fit_binary(purchase[:, 0].numpy(), turns.bought))


def _figures(turns: SimulatedTurns, action: Floats, purchase: Floats) -> dict[str, float]:
    """Figures of probabilities: action [n, 6] and purchase [n]."""
    rows = np.arange(len(action))
    chosen = action.argmax(1)
    likely = np.clip(purchase, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
    right = np.maximum(action[rows, turns.best_action], _SMALLEST_PROBABILITY)
    return {
        "action_accuracy": float((chosen == turns.best_action).mean()),
        "action_log_loss": float(-np.log(right).mean()),
        "action_calibration_error": expected_calibration_error(
            action.max(1), chosen == turns.best_action
        ),
        "purchase_log_loss": float(
            -np.log(np.where(turns.bought == 1, likely, 1.0 - likely)).mean()
        ),
        "purchase_auc": float(roc_auc_score(turns.bought, purchase)),
    }


def _majority(turns: SimulatedTurns, judged: SimulatedTurns) -> dict[str, float]:
    """Figures of saying how often each outcome was, whatever the turn."""
    shares = np.bincount(turns.best_action, minlength=len(Action)) / len(turns.best_action)
    count = len(judged.best_action)
    return _figures(judged, np.tile(shares, (count, 1)), np.full(count, float(turns.bought.mean())))


def _boosted_trees(turns: SimulatedTurns, judged: SimulatedTurns) -> dict[str, float]:
    """Figures of gradient-boosted trees (scikit-learn's histogram kind, its own early stopping)."""
    action = HistGradientBoostingClassifier(early_stopping=True, random_state=0)
    action.fit(turns.features, turns.best_action)
    purchase = HistGradientBoostingClassifier(early_stopping=True, random_state=0)
    purchase.fit(turns.features, turns.bought)
    probabilities = np.zeros((len(judged.features), len(Action)))
    probabilities[:, action.classes_] = action.predict_proba(judged.features)
    return _figures(judged, probabilities, purchase.predict_proba(judged.features)[:, 1])

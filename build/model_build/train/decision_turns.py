"""Simulated turns for the decision model: what was known, what turned out best, who bought.

There is no public record of such decisions, so outcomes are simulated. Each action has a utility in
the situation, written down in `utilities`; on top comes Gumbel noise for everything that a feature
does not tell, and the action with the highest sum turned out best. That is the multinomial logit of
discrete choice (McFadden 1974): the softmax of the utilities is the best that any model can know,
and its cross-entropy the bound that a model is measured against.
"""

import math
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from serving.dialogue.intents import Group
from serving.features import DecisionFeatures
from serving.types import Action

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_GROUPS: tuple[str, ...] = get_args(Group)
# Shares of the kinds of turns.
_NOT_UNDERSTOOD, _SMALLTALK, _ABOUT_PRODUCTS = 0.14, 0.12, 0.24


@dataclass(frozen=True, kw_only=True)
class SimulatedTurns:
    """Turns with their outcomes; row i of every array is turn i."""

    # float32 [n, 22]
    features: Floats
    # int64 [n], position in `Action`
    best_action: Ints
    # int64 [n], 1 if the customer bought something in the next day
    bought: Ints
    # Cross-entropy in nats of whoever knows the simulation: no model can do better.
    least_action_loss: float
    least_purchase_loss: float


def simulate_turns(count: int, rng: np.random.Generator) -> SimulatedTurns:
    """`count` independent turns."""
    turns = [_situation(rng) for _ in range(count)]
    utility = np.array([utilities(turn) for turn in turns])
    best = (utility + rng.gumbel(size=utility.shape)).argmax(axis=1)
    known = utility - np.logaddexp.reduce(utility, axis=1, keepdims=True)
    log_odds = np.array([purchase_log_odds(turn) for turn in turns])
    bought = rng.random(count) < 1.0 / (1.0 + np.exp(-log_odds))
    return SimulatedTurns(
        features=np.stack([turn.vector() for turn in turns]),
        best_action=best.astype(np.int64),
        bought=bought.astype(np.int64),
        least_action_loss=float(-known[np.arange(count), best].mean()),
        least_purchase_loss=float(np.logaddexp(0.0, np.where(bought, -log_odds, log_odds)).mean()),
    )


def utilities(turn: DecisionFeatures) -> list[float]:
    """Utility of each action in a situation, in the order of `Action`."""
    anger = turn.negative_probability
    understood = any(getattr(turn, f"group_{group}") for group in _GROUPS)
    # A question of the knowledge base, or about an order, that found nothing.
    empty_handed = float(
        understood
        and not (turn.answer_known or turn.items_found or turn.group_smalltalk or turn.slot_missing)
    )
    doubt = 1.0 - turn.intent_confidence
    by_action = {
        Action.NONE: -1.5
        + 5.0 * turn.group_smalltalk
        - 2.5 * turn.slot_missing
        + 1.0 * turn.positive_probability,
        Action.ANSWER: -1.0
        + 5.0 * turn.answer_known
        + 1.5 * turn.best_passage_score
        + 1.0 * empty_handed
        - 2.0 * turn.slot_missing
        - 1.5 * anger,
        Action.RECOMMEND: -3.0
        + 7.0 * turn.items_found
        + 1.0 * turn.best_item_score
        - 1.5 * turn.answer_known
        - 2.0 * anger,
        # Worth it for those who are about to buy, never for the angry.
        Action.OFFER: -4.0
        + turn.items_found * (5.0 + 4.5 * _interest(turn))
        + 1.0 * turn.positive_probability
        - 4.0 * anger,
        Action.CLARIFY: -1.0
        + 5.0 * turn.slot_missing
        + 4.0 * (not understood)
        + 1.5 * doubt
        + 1.5 * turn.out_of_scope_probability
        + 1.5 * empty_handed
        # Asking the same person again and again helps less each time.
        - 1.5 * turn.failures_in_a_row,
        Action.ESCALATE: -4.0
        + 6.0 * anger * anger
        + 1.5 * turn.failures_in_a_row
        + 2.0 * anger * (turn.failures_in_a_row + empty_handed)
        + 1.0 * empty_handed
        + 1.0 * turn.group_contact
        + 0.4 * turn.log_turns
        + 9.0 * turn.asks_for_human,
    }
    return [by_action[action] for action in Action]


def purchase_log_odds(turn: DecisionFeatures) -> float:
    """Log-odds that the customer buys something in the next day."""
    return (
        -3.2
        + 3.0 * _interest(turn)
        + 0.8 * turn.group_product
        + 0.5 * turn.log_purchases
        + 1.2 * turn.best_item_score
        + 0.5 * turn.positive_probability
        - 1.5 * turn.negative_probability
    )


def _interest(turn: DecisionFeatures) -> float:
    """How close to buying the behaviour looks, in (0, 1): a full cart counts most."""
    leaning = 1.3 * turn.log_carts + 0.5 * turn.log_views - 0.7 * turn.log_purchases - 2.0
    return 1.0 / (1.0 + math.exp(-leaning))


def _situation(rng: np.random.Generator) -> DecisionFeatures:
    """What is known in a turn of a random conversation, before the agent decides."""
    angry = rng.random() < 0.25
    negative = float(rng.beta(5, 2) if angry else rng.beta(1, 12))
    positive = float((1.0 - negative) * (rng.beta(4, 2) if rng.random() < 0.2 else rng.beta(1, 12)))
    views = int(rng.integers(0, 50) * (rng.random() < 0.8))
    carts = int(rng.binomial(views // 2, rng.beta(1, 3)))
    turn = DecisionFeatures(
        intent_confidence=float(rng.beta(8, 1.5)),
        out_of_scope_probability=float(rng.beta(1, 15)),
        negative_probability=negative,
        positive_probability=positive,
        log_views=math.log1p(views),
        log_carts=math.log1p(carts),
        log_purchases=math.log1p(int(rng.binomial(carts, 0.6))),
        log_turns=math.log1p(1 + int(rng.geometric(0.25))),
    )
    kind = rng.random()
    if kind < _NOT_UNDERSTOOD:
        return replace(
            turn,
            intent_confidence=float(rng.beta(2, 4)),
            out_of_scope_probability=float(rng.beta(3, 1.5)),
            failures_in_a_row=float(min(int(rng.geometric(0.7)), 4)),
            slot_missing=float(rng.random() < 0.2),
        )
    if kind < _NOT_UNDERSTOOD + _SMALLTALK:
        return replace(turn, group_smalltalk=1.0, slot_missing=float(rng.random() < 0.15))
    if kind < _NOT_UNDERSTOOD + _SMALLTALK + _ABOUT_PRODUCTS:
        turn = replace(turn, group_product=1.0)
        if rng.random() < 0.2:
            return replace(turn, slot_missing=1.0)
        if rng.random() < 0.15:
            return turn
        turn = replace(turn, items_found=1.0, best_item_score=float(rng.beta(1.2, 4)))
        return _with_passage(turn, rng) if rng.random() < 0.1 else turn
    group = str(rng.choice(["order", "account", "payment", "delivery", "product", "contact"]))
    turn = replace(turn, **{f"group_{group}": 1.0})
    if group == "contact" and rng.random() < 0.4:
        return replace(turn, asks_for_human=1.0)
    if group in ("order", "payment") and rng.random() < 0.35:
        return replace(turn, slot_missing=1.0)
    if group == "order" and rng.random() < 0.5:
        # The order's status is the answer; no passage is needed.
        return replace(turn, answer_known=float(rng.random() < 0.85))
    return _with_passage(turn, rng)


def _with_passage(turn: DecisionFeatures, rng: np.random.Generator) -> DecisionFeatures:
    """The knowledge base was asked; above a bound it knows the answer."""
    score = float(rng.beta(5, 2.5))
    return replace(turn, best_passage_score=score, answer_known=float(score >= 0.45))

"""Interactions -> histories as item indexes, and what came next.

A history is read as serving reads it (`serving.pipelines.past`). What the model learns
to foretell at each point are purchases that lie ahead: of the same visit, if the product was not
looked at yet, and of the next ones. That a cart follows a view of the same product is left out,
since it would teach the model to recommend what is on the screen already.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from model_build.data.types import Interaction
from model_build.specs.candidates import HISTORY_LENGTH
from serving.pipelines.past import LENGTH, Past
from serving.stores.protocols import HistoryEntry
from serving.types import EventKind

Ints = NDArray[np.int64]
# Purchases drawn for each position, from so many visits ahead.
TARGETS = 8
VISITS_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class NextPurchase:
    """A customer at a point in time, and what the next visit with a purchase brought."""

    customer_id: str
    # Product ids before that visit, oldest first, as serving would read them.
    history: tuple[str, ...]
    # Products that serving would not recommend: bought lately, or in the cart.
    has_already: frozenset[str]
    # Products bought in the visit, each once.
    bought: tuple[str, ...]


def by_customer(interactions: Iterable[Interaction]) -> dict[str, list[Interaction]]:
    """Interactions of each customer, in time order as given."""
    histories: dict[str, list[Interaction]] = {}
    for interaction in interactions:
        histories.setdefault(interaction.customer_id, []).append(interaction)
    return histories


def item_indexes(product_ids: Sequence[str]) -> dict[str, int]:
    """Product id -> item index; 0 stays free for padding."""
    return {product_id: i + 1 for i, product_id in enumerate(product_ids)}


def left_padded(items: Sequence[int]) -> Ints:
    """The last 50 items, padded on the left with 0: int64 [50]."""
    row = np.zeros(HISTORY_LENGTH, np.int64)
    recent = items[-HISTORY_LENGTH:]
    if recent:
        row[-len(recent) :] = recent
    return row


def encode_history(product_ids: Sequence[str], index: Mapping[str, int]) -> Ints:
    """A history as the model's input, int64 [50]; products that it does not know are left out."""
    return left_padded([index[p] for p in product_ids if p in index])


def training_sequences(
    interactions: Iterable[Interaction], index: Mapping[str, int], rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Inputs int64 [n, 50], and for every position targets int64 [n, 50, 8].

    The targets of a position are drawn from the next four visits with purchases, two from each.
    Looking that far ahead says more of a customer's taste than the next purchase alone, half of
    which is chance. Targets 0 mean that nothing is to be learnt there.

    Long histories are cut into windows of 50 that overlap by half, so that every target has at
    least 25 predecessors where they exist.
    """
    inputs: list[Ints] = []
    targets: list[Ints] = []
    half = HISTORY_LENGTH // 2
    for history in by_customer(interactions).values():
        items, ahead = _items_and_targets(history, index, rng)
        # Position p of the input foretells what follows items[:p]; a 0 stands before the first.
        known = [0, *items[:-1]]
        for start in range(0, max(len(items) - half, 1), half):
            learnt = ahead[start : start + HISTORY_LENGTH].copy()
            if start:
                # The window before has taught these.
                learnt[:half] = 0
            if learnt.any():
                row = np.zeros((HISTORY_LENGTH, TARGETS), np.int64)
                row[-len(learnt) :] = learnt
                inputs.append(left_padded(known[start : start + HISTORY_LENGTH]))
                targets.append(row)
    if not inputs:
        return (
            np.zeros((0, HISTORY_LENGTH), np.int64),
            np.zeros((0, HISTORY_LENGTH, TARGETS), np.int64),
        )
    return np.stack(inputs), np.stack(targets)


def next_purchases(
    past: Iterable[Interaction], future: Iterable[Interaction], most_per_customer: int = 1
) -> list[NextPurchase]:
    """Each customer's first visits with a purchase in `future`, with all that came before each.

    Customers without a past are left out: for them there is nothing to personalise by.
    """
    histories = by_customer(past)
    found = []
    for customer_id, later in sorted(by_customer(future).items()):
        before = histories.get(customer_id, [])
        visits = 0
        for _, visit in groupby(later, key=lambda i: i.basket_id):
            interactions = list(visit)
            bought = tuple(
                dict.fromkeys(i.product_id for i in interactions if i.kind == EventKind.PURCHASE)
            )
            if before and bought:
                seen = past_of(before)
                found.append(
                    NextPurchase(
                        customer_id=customer_id,
                        history=seen.interests(),
                        has_already=seen.has_already(),
                        bought=bought,
                    )
                )
                visits += 1
                if visits == most_per_customer:
                    break
            before = [*before, *interactions]
    return found


def past_of(interactions: Sequence[Interaction]) -> Past:
    """A customer's past as serving would load it: the last events, oldest first."""
    return Past(
        entries=tuple(
            HistoryEntry(product_id=i.product_id, kind=i.kind, occurred_at_ms=i.occurred_at_ms)
            for i in interactions[-LENGTH:]
        )
    )


def purchase_counts(interactions: Iterable[Interaction]) -> dict[str, int]:
    """How often each product was bought."""
    counts: dict[str, int] = {}
    for interaction in interactions:
        if interaction.kind == EventKind.PURCHASE:
            counts[interaction.product_id] = counts.get(interaction.product_id, 0) + 1
    return counts


@dataclass(frozen=True)
class _Basket:
    """What a visit ended in: items bought, each with the position where it was first touched."""

    visit: int
    first_touch: dict[int, int]


def _items_and_targets(
    history: Sequence[Interaction], index: Mapping[str, int], rng: np.random.Generator
) -> tuple[list[int], Ints]:
    """Items with runs of one product collapsed, and the targets before each: int64 [len, 8]."""
    items: list[int] = []
    visit_of: list[int] = []
    baskets: list[_Basket] = []
    for visit, (_, interactions) in enumerate(groupby(history, key=lambda i: i.basket_id)):
        first_touch: dict[int, int] = {}
        bought: dict[int, int] = {}
        for interaction in interactions:
            item = index.get(interaction.product_id)
            if item is None or interaction.kind == EventKind.REMOVE_FROM_CART:
                continue
            if not items or items[-1] != item:
                items.append(item)
                visit_of.append(visit)
            first_touch.setdefault(item, len(items) - 1)
            if interaction.kind == EventKind.PURCHASE:
                bought[item] = first_touch[item]
        if bought:
            baskets.append(_Basket(visit, bought))
    targets = np.zeros((len(items), TARGETS), np.int64)
    chance = rng.random((len(items), TARGETS)).tolist()
    visits = [basket.visit for basket in baskets]
    for position in range(len(items)):
        # The visit that the customer is in after items[:position].
        visit = visit_of[position - 1] if position else 0
        drawn: list[int] = []
        for basket in baskets[bisect_left(visits, visit) :]:
            ahead = [item for item, first in basket.first_touch.items() if first >= position]
            if ahead:
                for _ in range(TARGETS // VISITS_AHEAD):
                    drawn.append(ahead[int(chance[position][len(drawn)] * len(ahead))])
            if len(drawn) == TARGETS:
                break
        if drawn:
            targets[position] = np.resize(drawn, TARGETS)
    return items, targets

"""A shop's interactions cut by time, so that nobody learns from what it is judged by.

                      first 72 %      next 18 %       last 10 %
    most customers    candidates      candidates      held out: both models are judged
    ranker customers  candidates      ranker          on each customer's next purchase

The ranker has to see retrieval as it is when serving, on purchases that the candidates model was
not trained on; a share of the customers pays for that with the later part of their history.
"""

from dataclasses import dataclass

import numpy as np

from model_build.data.splits import split_interactions_by_time
from model_build.data.types import Interaction, Shop

HELD_OUT_SHARE = 0.1
_WINDOW_SHARE = 0.2
_RANKER_CUSTOMERS = 0.3


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Interactions in time order."""

    # What the candidates model learns from.
    candidates_train: tuple[Interaction, ...]
    # What came before the ranker's window, and the window of the ranker's customers.
    ranker_past: tuple[Interaction, ...]
    ranker_window: tuple[Interaction, ...]
    # Everything before the held-out part: the shop as it is when serving begins.
    past: tuple[Interaction, ...]
    held_out: tuple[Interaction, ...]


def cut(shop: Shop, rng: np.random.Generator, customers_share: float = 1.0) -> Timeline:
    """Cuts the interactions of the shop.

    Args:
        shop: its interactions are in time order.
        rng: chooses the ranker's customers.
        customers_share: models learn from this share of the customers only.

    Raises:
        ValueError: there are too few interactions to cut.
    """
    past, held_out = split_interactions_by_time(shop.interactions, HELD_OUT_SHARE)
    chance = dict(zip(shop.customer_ids, rng.random(len(shop.customer_ids)), strict=True))
    learnt = tuple(i for i in past if chance[i.customer_id] < customers_share)
    first, window = split_interactions_by_time(learnt, _WINDOW_SHARE)
    # The lowest chances are in whatever the share is.
    bound = _RANKER_CUSTOMERS * customers_share
    later = tuple(i for i in window if chance[i.customer_id] >= bound)
    return Timeline(
        candidates_train=(*first, *later),
        ranker_past=first,
        ranker_window=tuple(i for i in window if chance[i.customer_id] < bound),
        past=past,
        held_out=held_out,
    )

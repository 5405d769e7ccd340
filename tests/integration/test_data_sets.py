"""Loaders of the public data sets on the real files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model_build.data.bitext import load_bitext
from model_build.data.online_retail import load_online_retail
from model_build.data.splits import split_by_group, split_interactions_by_time
from serving.dialogue.intents import INTENTS

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = [
    pytest.mark.untimed,
    pytest.mark.integration,
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the data sets are not at {DATA}"),
]


def test_the_real_bitext_set() -> None:
    utterances = load_bitext(DATA)
    assert len(utterances) > 27_000
    assert len({u.intent for u in utterances}) == 27
    assert {u.intent for u in utterances} <= set(INTENTS)
    sizes: dict[str, Counter[str]] = {}
    for utterance in utterances:
        assert utterance.intent is not None
        sizes.setdefault(utterance.intent, Counter())[utterance.group] += 1
    for intent, groups in sizes.items():
        # No group is nearly all of its intent, and there are several to choose from.
        assert max(groups.values()) < 0.6 * sum(groups.values()), intent
        assert len(groups) >= 6, intent
    split = split_by_group(utterances, 0.2, np.random.default_rng(0))
    assert 0.19 < len(split.held_out) / len(utterances) < 0.21


def test_the_real_online_retail_set() -> None:
    shop = load_online_retail(DATA)
    assert len(shop.products) > 3_000
    assert len(shop.customer_ids) > 4_300
    assert len(shop.interactions) > 380_000
    assert len(shop.orders) == 4_500
    assert sum(a.article_id.startswith("faq-") for a in shop.articles) == 79
    other = sum(p.category == "gifts/other" for p in shop.products)
    assert other < 0.05 * len(shop.products)
    train, held_out = split_interactions_by_time(shop.interactions, 0.1)
    assert max(i.occurred_at_ms for i in train) < held_out[-1].occurred_at_ms
    assert 0.08 < len(held_out) / len(shop.interactions) < 0.12

"""Digests of data: the same data gives the same digest, whatever the machine or the day."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from model_build.data.types import LabelledUtterance, Shop


def shop_digest(shop: Shop) -> str:
    """SHA-256 over everything in the shop, as 64 hexadecimal digits."""
    parts: tuple[tuple[str, Iterable[Any]], ...] = (
        ("products", (asdict(p) for p in shop.products)),
        ("articles", (asdict(a) for a in shop.articles)),
        ("customers", shop.customer_ids),
        # Plain tuples: there are hundreds of thousands of them.
        (
            "interactions",
            (
                (i.customer_id, i.product_id, i.kind, i.occurred_at_ms, i.basket_id)
                for i in shop.interactions
            ),
        ),
        ("orders", (asdict(o) for o in shop.orders)),
    )
    hasher = hashlib.sha256(shop.name.encode())
    for name, rows in parts:
        hasher.update(f"\n{name}\n".encode())
        _update(hasher, rows)
    return hasher.hexdigest()


def utterances_digest(utterances: Iterable[LabelledUtterance]) -> str:
    """SHA-256 over the utterances in their order, as 64 hexadecimal digits."""
    hasher = hashlib.sha256(b"utterances\n")
    _update(hasher, (asdict(u) for u in utterances))
    return hasher.hexdigest()


def _update(hasher: "hashlib._Hash", rows: Iterable[Any]) -> None:
    for row in rows:
        hasher.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
        hasher.update(b"\n")

"""Digests of data: the same data gives the same digest, whatever the machine or the day."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from model_build.data.types import LabelledUtterance, Shop


def shop_digest(shop: Shop) -> str:
    """SHA-256 over everything in the shop, as 64 hexadecimal digits."""
    hasher = hashlib.sha256(shop.name.encode())
    for name, rows in (
        ("products", shop.products),
        ("articles", shop.articles),
        ("orders", shop.orders),
    ):
        hasher.update(f"\n{name}\n".encode())
        _update(hasher, (asdict(row) for row in rows))
    _update(hasher, (list(shop.customer_ids),))
    # Hundreds of thousands: written without JSON, with a sign that no id holds.
    hasher.update(
        "\n".join(
            f"{i.customer_id}\x1f{i.product_id}\x1f{i.kind}\x1f{i.occurred_at_ms}\x1f{i.basket_id}"
            for i in shop.interactions
        ).encode()
    )
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

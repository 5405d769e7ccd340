"""What the demo's customer says: for the synthetic shop a script, for real data real words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.stores.shop_reading import ShopContents, read_shop
from serving.types import Product

SYNTHETIC = "synthetic"
HELD_OUT_FILE = "held_out.jsonl"
VIEWED_PRODUCTS = 4

Before = Literal["", "events", "kill", "recovery"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One utterance, and what happens before it."""

    text: str
    before: Before = ""
    traced: bool = False


@dataclass(frozen=True, kw_only=True)
class Script:
    """A whole conversation with its customer."""

    shop: str
    customer_id: str
    # Products that the customer looks at half-way.
    viewed: tuple[str, ...]
    viewed_category: str
    turns: tuple[Turn, ...]


def script_for(folder: Path) -> Script:
    """The script for the shop that was built.

    Raises:
        StartupError: there is no shop.
    """
    shop = read_shop(folder)
    order = next(o for o in reversed(shop.orders) if o.status == "shipped" and o.customer_id)
    if shop.manifest.name == SYNTHETIC:
        order = next((o for o in shop.orders if o.order_number == "12345"), order)
        words = _SYNTHETIC_WORDS
    else:
        words = _held_out_words(folder / HELD_OUT_FILE)
    viewed = _other_products(shop, order.customer_id)
    return Script(
        shop=shop.manifest.name,
        customer_id=order.customer_id,
        viewed=tuple(product.product_id for product in viewed),
        viewed_category=viewed[0].category,
        turns=_turns(words, order.order_number),
    )


@dataclass(frozen=True, kw_only=True)
class _Words:
    policy: str
    payment: str
    track: str
    complaint: str


_SYNTHETIC_WORDS = _Words(
    policy="how long does standard delivery take?",
    payment="which payment methods do you accept?",
    track="where is my order?",
    complaint="this is the second time I ask, I am really disappointed and want a refund",
)


def _turns(words: _Words, order_number: str) -> tuple[Turn, ...]:
    return (
        Turn(text="hello there"),
        Turn(text=words.policy, traced=True),
        Turn(text=words.track),
        Turn(text=f"it's {order_number}"),
        Turn(text="can you recommend something for me?"),
        Turn(text="what else would you recommend?", before="events"),
        Turn(text=words.complaint),
        Turn(text=words.payment, before="kill"),
        Turn(text=words.payment, before="recovery"),
        Turn(text="qwpo zmxn fjgh"),
        Turn(text="lkdf gghh trew"),
    )


def _held_out_words(path: Path) -> _Words:
    """Utterances that no model has seen in training, the first of each intent."""
    first: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] == "utterance":
            first.setdefault(entry["intent"], entry["text"])
    return _Words(
        policy=first["delivery_period"],
        payment=first["check_payment_methods"],
        track=first["track_order"],
        complaint=first["complaint"],
    )


def _other_products(shop: ShopContents, customer_id: str) -> Sequence[Product]:
    """Some products of the largest category that the customer has never touched."""
    products = {product.product_id: product for product in shop.products}
    known = {
        products[i.product_id].category
        for i in shop.interactions
        if i.customer_id == customer_id and i.product_id in products
    }
    by_category: dict[str, list[Product]] = {}
    for product in shop.products:
        if product.category not in known:
            by_category.setdefault(product.category, []).append(product)
    largest = max(by_category.values(), key=len)
    return largest[:VIEWED_PRODUCTS]

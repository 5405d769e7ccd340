"""The reason to show with a recommended product: what is known to be so, in a few words. Pure."""

from collections.abc import Mapping, Sequence

from serving.stores.protocols import HistoryEntry
from serving.types import EventKind, Product

_SAME_CATEGORY: dict[str, str] = {
    EventKind.VIEW: "because you looked at {}",
    EventKind.ADD_TO_CART: "goes with {} in your cart",
    EventKind.PURCHASE: "because you bought {}",
}


def personal_reason(
    product: Product, past: Sequence[HistoryEntry], products: Mapping[str, Product]
) -> str:
    """Why the model proposed a product: the latest interaction with its category, or the latest.

    Args:
        product: the proposed product.
        past: the customer's interactions, oldest first.
        products: the catalogue by id.

    Returns:
        The reason; "" if no product of the past is in the catalogue.
    """
    latest = ""
    for entry in reversed(past):
        known = products.get(entry.product_id)
        template = _SAME_CATEGORY.get(entry.kind)
        if known is None or template is None or known.product_id == product.product_id:
            continue
        if known.category == product.category:
            return template.format(known.title)
        latest = latest or f"suggested by your interest in {known.title}"
    return latest


def popular_reason(product: Product, category: str = "") -> str:
    """Why a product is shown to somebody of whom nothing is known.

    Args:
        product: the product.
        category: what was asked for; "" for the product's own surroundings, one level up.
    """
    path = category or product.category.rpartition("/")[0] or product.category
    return f"popular in {path}" if path else "popular in our shop"

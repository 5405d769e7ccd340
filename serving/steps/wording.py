"""Prices, dates, orders and questions in the words that a customer reads. Pure."""

from datetime import date

from serving.types import Candidate, Order

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}

# What is asked for a slot that is missing.
_QUESTIONS = {
    "order_number": "What is your order number?",
    "product": "Which product do you have in mind?",
    "colour": "Which colour would you like?",
    "size": "Which size do you need?",
    "date": "Which date do you mean?",
    "amount": "Which amount do you mean?",
}


def price(cents: int, currency: str) -> str:
    """An amount, e.g. "€1,234.50" or "1,234.50 CHF"; a minus goes first."""
    sign = "-" if cents < 0 else ""
    whole, part = divmod(abs(cents), 100)
    amount = f"{whole:,}.{part:02}"
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{amount}" if symbol else f"{sign}{amount} {currency}".rstrip()


def day(iso_date: str) -> str:
    """A date, e.g. "3 November 2026"; what is not ISO 8601 is shown as it is."""
    try:
        parsed = date.fromisoformat(iso_date)
    except ValueError:
        return iso_date
    return f"{parsed.day} {parsed:%B %Y}"


def question_for(slot: str) -> str:
    """The question that asks for a slot."""
    return _QUESTIONS.get(slot) or f"Could you tell me the {slot.replace('_', ' ')}?"


def order_status(order: Order) -> str:
    """Where an order is, with its dates and its total."""
    count = len(order.product_ids)
    items = "1 item" if count == 1 else f"{count} items"
    what = f"Order {order.order_number} ({items}, {price(order.total_cents, order.currency)})"
    placed = f"was placed on {day(order.placed_on)}"
    expected = f"expected to arrive on {day(order.expected_on)}" if order.expected_on else ""
    match order.status:
        case "placed" | "packed" | "shipped":
            state = "is being prepared" if order.status == "placed" else f"has been {order.status}"
            return f"{what} {placed} and {state}" + (f"; it is {expected}." if expected else ".")
        case "delivered" | "cancelled" | "returned":
            return f"{what} {placed} and has been {order.status}."
        case _:
            return f"{what} {placed}; its status is: {order.status}."


def item_line(item: Candidate) -> str:
    """One recommended product on one line."""
    product = item.product
    reason = f": {item.reason}" if item.reason else ""
    return f"- {product.title} ({price(product.price_cents, product.currency)}){reason}"

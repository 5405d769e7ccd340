"""The shop's intents: what each needs to know and what it wants done. Described here, once.

The understanding model is trained on these names; the dialogue reads what to do from here.
"""

from dataclasses import dataclass
from typing import Literal

Group = Literal["order", "account", "payment", "delivery", "product", "contact", "smalltalk"]

SLOT_NAMES = ("order_number", "product", "colour", "size", "date", "amount")


@dataclass(frozen=True, kw_only=True)
class IntentSpec:
    """One intent."""

    name: str
    group: Group
    # Asked for, in this order, before the intent is acted on.
    required_slots: tuple[str, ...] = ()
    # Knowledge base is asked.
    wants_answer: bool = False
    # Products are recommended.
    wants_items: bool = False
    # The order named by `order_number` is looked up.
    wants_order: bool = False


_ALL = (
    IntentSpec(
        name="track_order", group="order", required_slots=("order_number",), wants_order=True
    ),
    IntentSpec(
        name="cancel_order",
        group="order",
        required_slots=("order_number",),
        wants_order=True,
        wants_answer=True,
    ),
    IntentSpec(
        name="change_order",
        group="order",
        required_slots=("order_number",),
        wants_order=True,
        wants_answer=True,
    ),
    # How to order, and what one might want to.
    IntentSpec(name="place_order", group="order", wants_answer=True, wants_items=True),
    IntentSpec(name="check_cancellation_fee", group="order", wants_answer=True),
    IntentSpec(
        name="get_refund",
        group="payment",
        required_slots=("order_number",),
        wants_order=True,
        wants_answer=True,
    ),
    IntentSpec(
        name="track_refund", group="payment", required_slots=("order_number",), wants_order=True
    ),
    IntentSpec(name="check_refund_policy", group="payment", wants_answer=True),
    IntentSpec(name="return_item", group="payment", wants_answer=True),
    IntentSpec(name="payment_issue", group="payment", wants_answer=True),
    IntentSpec(name="check_payment_methods", group="payment", wants_answer=True),
    IntentSpec(name="use_voucher", group="payment", wants_answer=True),
    IntentSpec(name="check_invoice", group="payment", wants_answer=True),
    IntentSpec(name="get_invoice", group="payment", wants_answer=True),
    IntentSpec(name="delivery_options", group="delivery", wants_answer=True),
    IntentSpec(name="delivery_period", group="delivery", wants_answer=True),
    IntentSpec(name="change_shipping_address", group="delivery", wants_answer=True),
    IntentSpec(name="set_up_shipping_address", group="delivery", wants_answer=True),
    IntentSpec(name="create_account", group="account", wants_answer=True),
    IntentSpec(name="edit_account", group="account", wants_answer=True),
    IntentSpec(name="delete_account", group="account", wants_answer=True),
    IntentSpec(name="switch_account", group="account", wants_answer=True),
    IntentSpec(name="recover_password", group="account", wants_answer=True),
    IntentSpec(name="registration_problems", group="account", wants_answer=True),
    IntentSpec(name="newsletter_subscription", group="account", wants_answer=True),
    IntentSpec(name="recommend_product", group="product", wants_items=True),
    IntentSpec(
        name="search_product", group="product", required_slots=("product",), wants_items=True
    ),
    IntentSpec(
        name="check_availability",
        group="product",
        required_slots=("product",),
        wants_items=True,
    ),
    IntentSpec(name="ask_product_care", group="product", wants_answer=True),
    IntentSpec(name="ask_size_guide", group="product", wants_answer=True),
    IntentSpec(name="ask_warranty", group="product", wants_answer=True),
    IntentSpec(name="complaint", group="contact", wants_answer=True),
    IntentSpec(name="review", group="contact", wants_answer=True),
    IntentSpec(name="contact_customer_service", group="contact", wants_answer=True),
    IntentSpec(name="contact_human_agent", group="contact"),
    # A bare piece of information, e.g. "it's 12345": fills what was asked for.
    IntentSpec(name="give_information", group="smalltalk"),
    IntentSpec(name="greeting", group="smalltalk"),
    IntentSpec(name="thanks", group="smalltalk"),
    IntentSpec(name="goodbye", group="smalltalk"),
)

INTENTS: dict[str, IntentSpec] = {spec.name: spec for spec in _ALL}
# The order of the model's classes.
INTENT_NAMES: tuple[str, ...] = tuple(sorted(INTENTS))
# BIO tags in the order of the model's classes; index 0 is "O".
SLOT_TAGS: tuple[str, ...] = (
    "O",
    *(f"{prefix}-{name}" for name in SLOT_NAMES for prefix in ("B", "I")),
)

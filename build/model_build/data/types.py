"""What the data loaders hand to training: the shop and labelled utterances."""

from dataclasses import dataclass

from serving.types import Article, Order, Product, Sentiment


@dataclass(frozen=True, kw_only=True)
class SlotSpan:
    """A labelled slot; half-open span in code points."""

    name: str
    start_char: int
    end_char: int


@dataclass(frozen=True, kw_only=True)
class LabelledUtterance:
    """One utterance. A label that the source does not have is None and trains nothing.

    `group` keeps utterances of one template or seed text on one side of a split.
    """

    text: str
    intent: str | None
    slots: tuple[SlotSpan, ...] | None
    sentiment: Sentiment | None
    out_of_scope: bool | None
    group: str


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One purchase (or view) of a customer; time in Unix milliseconds."""

    customer_id: str
    product_id: str
    # A value of `serving.types.EventKind`.
    kind: str
    occurred_at_ms: int
    # Interactions of one visit or invoice share it.
    basket_id: str


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A whole shop. `interactions` are in time order."""

    # "synthetic" or the name of the data set.
    name: str
    products: tuple[Product, ...]
    articles: tuple[Article, ...]
    customer_ids: tuple[str, ...]
    interactions: tuple[Interaction, ...]
    orders: tuple[Order, ...]


@dataclass(frozen=True, kw_only=True)
class UtteranceSplit:
    """Utterances for training and held-out ones, disjoint by group."""

    train: tuple[LabelledUtterance, ...]
    held_out: tuple[LabelledUtterance, ...]

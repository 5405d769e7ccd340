"""Domain types: what steps and pipelines speak. Frozen, picklable, free of protobuf and Ray."""

from dataclasses import dataclass, field
from enum import StrEnum


class Sentiment(StrEnum):
    """Mood of an utterance. The order is the order of the model's classes."""

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"


class Action(StrEnum):
    """What the agent does next. The order is the order of the decision model's classes."""

    NONE = "none"
    ANSWER = "answer"
    RECOMMEND = "recommend"
    OFFER = "offer"
    CLARIFY = "clarify"
    ESCALATE = "escalate"


class EventKind(StrEnum):
    """Behaviour of a customer."""

    VIEW = "view"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A piece of information in an utterance; the span is half-open, in code points.

    A slot carried over from an earlier turn has the span (0, 0).
    """

    name: str
    value: str
    start_char: int = 0
    end_char: int = 0
    confidence: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Understanding:
    """What an utterance means. Probabilities lie in [0, 1]."""

    intent: str
    intent_confidence: float
    slots: tuple[Slot, ...] = ()
    sentiment: Sentiment = Sentiment.NEUTRAL
    sentiment_confidence: float = 0.0
    # Probability of each class in the order of `Sentiment`.
    sentiment_probabilities: tuple[float, float, float] = (0.0, 1.0, 0.0)
    out_of_scope_probability: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Article:
    """One entry of the knowledge base."""

    article_id: str
    title: str
    body: str
    topic: str = ""
    updated_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Passage:
    """An article found for a question; score in [0, 1], higher is better."""

    article: Article
    score: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer with its sources; `known=False` is the honest "don't know"."""

    known: bool
    text: str
    passages: tuple[Passage, ...] = ()
    confidence: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product of the catalogue. `category` is a path such as "home/kitchen/mugs"."""

    product_id: str
    title: str
    category: str
    price_cents: int
    currency: str = "EUR"
    brand: str = ""
    colours: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A product proposed to a customer, with the reason to show."""

    product: Product
    score: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a customer (or an anonymous session) did with a product."""

    event_id: str
    kind: EventKind
    product_id: str
    customer_id: str = ""
    session_id: str = ""
    occurred_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What a customer thinks of a reply."""

    # `meta.trace_id` of the reply.
    trace_id: str
    helpful: bool
    # In the customer's words; "" for none.
    comment: str = ""
    # Unix time; 0 for now.
    occurred_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order of the shop; dates are ISO 8601 (YYYY-MM-DD)."""

    order_number: str
    customer_id: str
    # placed, packed, shipped, delivered, cancelled, returned
    status: str
    placed_on: str
    expected_on: str
    product_ids: tuple[str, ...]
    total_cents: int
    currency: str = "EUR"


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One reason of a decision: the feature's value and its change of the action's log-odds."""

    name: str
    value: float
    contribution: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Chosen action with its calibrated probability and the factors behind it."""

    action: Action
    probability: float
    purchase_propensity: float = 0.0
    factors: tuple[Factor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """Wall time of one step in milliseconds."""

    step: str
    duration_ms: float


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """A step that was replaced by its fallback, and why."""

    step: str
    reason: str
    fallback: str


class Arm(StrEnum):
    """Why a version of a model answered."""

    LIVE = "live"
    CANARY = "canary"
    # Asked for by number.
    PINNED = "pinned"
    # Answered for a version that was not ready.
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Choice:
    """The version of a model that answers a request."""

    version: int
    arm: Arm


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a request leaves behind besides its result; every reply carries it."""

    timings: tuple[StepTiming, ...] = ()
    degraded: tuple[Degradation, ...] = ()
    model_versions: dict[str, int] = field(default_factory=dict)
    # By model, what was chosen to answer, whether or not it did.
    choices: dict[str, Choice] = field(default_factory=dict)
    trace_id: str = ""
    total_ms: float = 0.0

"""A small shop with everything in memory: stores, models, assets, steps and pipelines.

world = build_world()
outcome = await world.say("where is my order?")
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.assembly import ModelSteps, Pipelines, Steps, build_pipelines
from serving.assets import (
    CandidatesAssets,
    DecisionAssets,
    EncoderAssets,
    ModelAssets,
    RankerAssets,
    UnderstandingAssets,
)
from serving.context import RequestContext
from serving.deadline import Deadline
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.features import DecisionFeatures
from serving.models.manifest import ModelManifest
from serving.models.tokenizer import Tokenizer
from serving.pipelines.turn import Emit, TurnInput, TurnOutcome
from serving.recording.masking import Masker
from serving.settings import Settings
from serving.steps.encode import EncodeInput, article_text, encoder_name
from serving.steps.understand import UnderstandingLabels
from serving.types import Article, Event, EventKind, Order, Product, Sentiment
from serving.versions.lineup import Lineup
from serving.versions.routing import Router
from tests.fakes.models import LEXICON, InMemoryModels, shop_models
from tests.fakes.stores import (
    MemoryFeedback,
    MemoryHistory,
    MemoryKnowledge,
    MemorySessions,
    MemoryShop,
)
from tests.fakes.tokens import small_tokenizer

# Leaf categories, each with six products; product p00 is a mug, p01 a pan and so on.
KINDS = {
    "mug": "home/kitchen/mugs",
    "pan": "home/kitchen/pans",
    "lamp": "home/living/lamps",
    "spade": "garden/tools/spades",
    "hose": "garden/water/hoses",
}
_COLOURS = ("blue", "red", "green")

PRODUCTS: tuple[Product, ...] = tuple(
    Product(
        product_id=f"p{number:02}",
        title=f"{_COLOURS[number % 3].title()} {kind.title()} {number}",
        category=category,
        price_cents=500 + 125 * number,
        colours=(_COLOURS[number % 3],),
    )
    for number, (kind, category) in enumerate(list(KINDS.items()) * 6)
)

ARTICLES: tuple[Article, ...] = (
    Article(
        article_id="delivery",
        title="Delivery times",
        body="Standard delivery takes three days. Express delivery takes one day. It costs more.",
    ),
    Article(
        article_id="returns",
        title="Return an item",
        body="You can return an item within 30 days. Print the label first.",
    ),
    Article(
        article_id="cancel",
        title="Cancel an order",
        body="Cancel an order from your account until it has been packed.",
    ),
    Article(
        article_id="ordering",
        title="Buy something",
        body="Put what you buy into the cart. Then pay.",
    ),
    Article(
        article_id="refund",
        title="Get a refund",
        body="A refund is paid to the card that was used. It takes five days.",
    ),
)

ORDERS: tuple[Order, ...] = (
    Order(
        order_number="12345",
        customer_id="alice",
        status="shipped",
        placed_on="2026-11-18",
        expected_on="2026-11-24",
        product_ids=("p00", "p01"),
        total_cents=2480,
    ),
    Order(
        order_number="67890",
        customer_id="bob",
        status="delivered",
        placed_on="2026-10-01",
        expected_on="2026-10-05",
        product_ids=("p02",),
        total_cents=995,
    ),
)

# Purchases by others, which make products popular: p04 most, then p09, p14 …
_POPULAR = {"p04": 5, "p09": 4, "p14": 3, "p03": 2, "p00": 1}

MASKER = Masker(b"a key for tests of 32 bytes long")


@dataclass(frozen=True, kw_only=True)
class MemoryStores:
    """Satisfies `serving.assembly.Stores`."""

    sessions: MemorySessions
    history: MemoryHistory
    feedback: MemoryFeedback
    knowledge: MemoryKnowledge
    shop: MemoryShop


# Without a repr: pytest writes one of every fixture, and this one would print whole matrices.
@dataclass(kw_only=True, repr=False)
class World:
    """A shop and what serves it."""

    settings: Settings
    router: Router
    opened: ModelSteps
    models: InMemoryModels
    stores: MemoryStores
    steps: Steps
    pipelines: Pipelines
    # Contexts of the turns said so far.
    contexts: list[RequestContext] = field(default_factory=list)
    _events: int = 0

    async def say(
        self,
        text: str,
        *,
        session_id: str = "session",
        customer_id: str = "",
        top_k: int = 3,
        deadline_ms: float = 5000,
        emit: Emit | None = None,
    ) -> TurnOutcome:
        """One turn of a conversation."""
        self.contexts.append(context(deadline_ms))
        turn = TurnInput(session_id=session_id, customer_id=customer_id, text=text, top_k=top_k)
        return await self.pipelines.converse(turn, self.contexts[-1], emit)

    async def happens(
        self, kind: EventKind, *product_ids: str, customer_id: str = "", session_id: str = ""
    ) -> None:
        """Records events through the pipeline, one after the other in time."""
        events = []
        for product_id in product_ids:
            self._events += 1
            events.append(
                Event(
                    event_id=f"e{self._events}",
                    kind=kind,
                    product_id=product_id,
                    customer_id=customer_id,
                    session_id=session_id,
                    occurred_at_ms=1_000_000 + self._events,
                )
            )
        await self.pipelines.record_events(events, context())

    def degraded(self) -> list[tuple[str, str]]:
        """(step, fallback) of the last turn."""
        return [(d.step, d.fallback) for d in self.contexts[-1].degraded]


def context(duration_ms: float = 5000) -> RequestContext:
    """A request that has just come in."""
    return RequestContext(deadline=Deadline.after_ms(duration_ms), trace_id="0" * 31 + "1")


def manifest(model: str, version: int = 1) -> ModelManifest:
    """What a published version says of itself, but for its files."""
    return ModelManifest(
        model=model,
        version=version,
        build_key=f"{model}-{version}",
        inputs=(),
        outputs=(),
        max_batch_size=64,
        served_artifact="onnx",
        artifacts=(),
        tools={},
        data_name="memory",
        data_digest="",
        seed=0,
        metrics={},
        parity=(),
        train_seconds=0.0,
        published_at_ms=0,
    )


def small_assets(products: Sequence[Product] = PRODUCTS, version: int = 1) -> list[ModelAssets]:
    """Assets whose tokenizers know the lexicon of the models in memory."""
    words = sorted({*LEXICON, *_words(ARTICLES)})
    ids = tuple(product.product_id for product in products)
    return [
        UnderstandingAssets(
            manifest=manifest("understanding", version),
            tokenizer=Tokenizer(small_tokenizer(LEXICON), 64),
            labels=UnderstandingLabels(
                intents=INTENT_NAMES,
                slot_tags=SLOT_TAGS,
                sentiments=tuple(sentiment.value for sentiment in Sentiment),
                intent_temperature=1.0,
                out_of_scope_temperature=1.0,
                max_length=64,
            ),
        ),
        EncoderAssets(
            manifest=manifest("encoder", version), tokenizer=Tokenizer(small_tokenizer(words), 128)
        ),
        CandidatesAssets(manifest=manifest("candidates", version), products=ids),
        RankerAssets(
            manifest=manifest("ranker", version),
            product_vocabulary=ids,
            category_vocabulary=tuple(sorted({product.category for product in products})),
        ),
        DecisionAssets(
            manifest=manifest("decision", version),
            means=tuple(0.0 for _ in DecisionFeatures.names()),
        ),
    ]


def open_steps(models: InMemoryModels, stores: "MemoryStores") -> tuple[Router, ModelSteps]:
    """What one process has open: version 1 of every model, live."""
    router = Router(lambda version: version in opened.opened())
    opened = ModelSteps(router, models, stores)
    for assets in small_assets():
        opened.open(assets)
    router.follow({v.model: Lineup(model=v.model, live=v.version) for v in opened.opened()})
    return router, opened


def build_world(settings: Settings | None = None, **placed: Any) -> World:
    """A fresh shop. `placed` names steps that are to be replaced, e.g. by a `RemoteStep`."""
    settings = settings or Settings()
    models = InMemoryModels(shop_models(small_tokenizer(LEXICON), len(PRODUCTS)))
    history = MemoryHistory(customers={"alice", "bob"})
    for product_id, purchases in _POPULAR.items():
        for number in range(purchases):
            history.events.append(
                Event(
                    event_id=f"{product_id}-{number}",
                    kind=EventKind.PURCHASE,
                    product_id=product_id,
                    customer_id=f"somebody-{number}",
                    occurred_at_ms=number + 1,
                )
            )
    stores = MemoryStores(
        sessions=MemorySessions(),
        history=history,
        feedback=MemoryFeedback(),
        knowledge=MemoryKnowledge(articles={a.article_id: a for a in ARTICLES}),
        shop=MemoryShop(catalogue=PRODUCTS, orders=ORDERS, history=history),
    )
    router, opened = open_steps(models, stores)
    steps = opened.steps.placed(placed)
    return World(
        settings=settings,
        router=router,
        opened=opened,
        models=models,
        stores=stores,
        steps=steps,
        pipelines=build_pipelines(
            settings, steps, stores, lambda: router.lineups()["encoder"].resident, MASKER
        ),
    )


async def with_vectors(world: World) -> World:
    """The same world, its articles encoded as a build would have done."""
    texts = tuple(article_text(article) for article in ARTICLES)
    embeddings = await world.steps.encode(EncodeInput(texts=texts), context())
    world.stores.knowledge.of_encoder[encoder_name(1)] = {
        article.article_id: vector
        for article, vector in zip(ARTICLES, embeddings.vectors, strict=True)
    }
    world.stores.knowledge.changes += 1
    world.models.calls.clear()
    return world


def _words(articles: Sequence[Article]) -> set[str]:
    texts = " ".join(article_text(article) for article in articles)
    return {word.strip(".,").lower() for word in texts.split()}

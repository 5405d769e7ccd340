"""Model hosts in memory: small but real functions of the input tensors, which can be made to fail.

models = InMemoryModels(shop_models(tokenizer, products=30))
models.fail("ranker", ModelUnavailable("..."))     every call raises
models.hold("encoder")                             calls wait until `models.release("encoder")`
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import CartwrightError, ModelUnavailable
from serving.features import RANKER_DENSE, DecisionFeatures
from serving.models.client import ModelClient, ModelOutput, Tensors
from serving.models.manifest import ModelManifest
from serving.models.version import ModelVersion
from serving.types import Action, Sentiment

Outputs = dict[str, NDArray[Any]]
Function = Callable[[Tensors], Outputs]

# Words that speak for an intent; each intent's words count the same.
INTENT_WORDS: dict[str, tuple[str, ...]] = {
    "track_order": ("where", "track"),
    "cancel_order": ("cancel",),
    "get_refund": ("refund",),
    "delivery_period": ("delivery",),
    "return_item": ("return",),
    "recommend_product": ("recommend", "suggest"),
    "search_product": ("search", "find"),
    "place_order": ("buy",),
    "complaint": ("complain",),
    "contact_human_agent": ("human", "person"),
    "greeting": ("hello",),
    "thanks": ("thanks",),
    "goodbye": ("goodbye",),
}
SLOT_WORDS: dict[str, tuple[str, ...]] = {
    "product": ("mug", "mugs", "pan", "pans", "spade", "spades", "lamp", "lamps", "submarine"),
    "colour": ("blue", "red", "green"),
    "size": ("small", "large"),
}
MOOD_WORDS: dict[Sentiment, tuple[str, ...]] = {
    Sentiment.NEGATIVE: ("terrible", "angry", "awful"),
    Sentiment.POSITIVE: ("great", "lovely"),
}
LEXICON: tuple[str, ...] = tuple(
    word
    for words in (INTENT_WORDS, SLOT_WORDS, MOOD_WORDS)
    for group in words.values()
    for word in group
)
DIMENSIONS = 384


class InMemoryModels:
    """A `ModelClient` over functions."""

    def __init__(
        self, functions: Mapping[str, Function], versions: Mapping[str, int] | None = None
    ) -> None:
        self.functions = dict(functions)
        self.versions = dict(versions or {})
        # (model, inputs) of every call that reached a function.
        self.calls: list[tuple[str, Tensors]] = []
        self._errors: dict[str, CartwrightError] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def fail(self, model: str, error: CartwrightError | None = None) -> None:
        """Makes every call of `model` raise."""
        self._errors[model] = error or ModelUnavailable(f"model {model} is not ready on any host")

    def recover(self, model: str) -> None:
        """Takes `fail` and `hold` back."""
        self._errors.pop(model, None)
        self.release(model)

    def hold(self, model: str) -> asyncio.Event:
        """Makes calls of `model` wait; the returned event is set once one does."""
        self._gates[model] = asyncio.Event()
        self._waiting[model] = asyncio.Event()
        return self._waiting[model]

    def release(self, model: str) -> None:
        """Lets the calls that wait go on."""
        gate = self._gates.pop(model, None)
        if gate is not None:
            gate.set()

    def called(self, model: str) -> int:
        """How many calls of `model` were answered."""
        return sum(name == model for name, _ in self.calls)

    def open(self, manifest: ModelManifest) -> ModelClient:
        """Every version is the same function here, under its own number."""
        return _OneVersion(self, manifest.version)

    def close_version(self, version: ModelVersion) -> None:
        """Nothing was opened."""

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`."""
        return await self.infer_with(model, inputs, context, self.versions.get(model, 1))

    async def infer_with(
        self, model: str, inputs: Tensors, context: RequestContext, version: int
    ) -> ModelOutput:
        """The same by a certain version."""
        context.deadline.require(0.0, f"model {model}")
        if model in self._gates:
            self._waiting[model].set()
            await self._gates[model].wait()
        if model in self._errors:
            # A copy: one exception object must not gather the tracebacks of all its raises.
            error = self._errors[model]
            raise type(error)(*error.args)
        if model not in self.functions:
            raise ModelUnavailable(f"model {model} is not ready on any host")
        self.calls.append((model, inputs))
        context.model_versions[model] = version
        return ModelOutput(tensors=self.functions[model](inputs), version=version)


class _OneVersion:
    """A `ModelClient` of one version of a model."""

    def __init__(self, models: InMemoryModels, version: int) -> None:
        self._models = models
        self._version = version

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`."""
        return await self._models.infer_with(model, inputs, context, self._version)


def shop_models(tokenizer: tokenizers.Tokenizer, products: int) -> dict[str, Function]:
    """All five models, for a tokenizer that knows `LEXICON` and a catalogue of so many products."""
    return {
        "understanding": understanding(tokenizer),
        "encoder": encode_bag_of_tokens,
        "candidates": lambda inputs: next_in_line(inputs, products),
        "ranker": rank_linearly,
        "decision": decide_linearly,
    }


def understanding(tokenizer: tokenizers.Tokenizer) -> Function:
    """Counts the lexicon's words; numbers are order numbers, and other texts are out of scope."""
    slots: dict[int, str] = {}
    for slot, words in SLOT_WORDS.items():
        slots.update(dict.fromkeys(_ids(tokenizer, words), slot))
    digits = {tokenizer.token_to_id(f"{p}{d}") for p in ("", "##") for d in range(10)}
    intents = np.zeros((tokenizer.get_vocab_size(), len(INTENT_NAMES)), np.float32)
    for intent, words in INTENT_WORDS.items():
        intents[_ids(tokenizer, words), INTENT_NAMES.index(intent)] = 8.0
    intents[list(digits), INTENT_NAMES.index("give_information")] = 1.2
    moods = np.zeros((tokenizer.get_vocab_size(), len(Sentiment)), np.float32)
    for mood, words in MOOD_WORDS.items():
        moods[_ids(tokenizer, words), tuple(Sentiment).index(mood)] = 6.0

    def infer(inputs: Tensors) -> Outputs:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        visible = mask[..., None].astype(np.float32)
        intent_logits = (intents[ids] * visible).sum(axis=1)
        tags = np.zeros((*ids.shape, len(SLOT_TAGS)), np.float32)
        tags[..., 0] = 3.0
        for row, column in np.ndindex(ids.shape):
            slot = "order_number" if ids[row, column] in digits else slots.get(ids[row, column])
            if slot is not None:
                previous = ids[row, column - 1]
                continues = slot == "order_number" and previous in digits
                tag = SLOT_TAGS.index(f"{'I' if continues else 'B'}-{slot}")
                tags[row, column, tag] = 8.0
        mood_logits = (moods[ids] * visible).sum(axis=1)
        mood_logits[:, tuple(Sentiment).index(Sentiment.NEUTRAL)] += 3.0
        tagged = (tags[..., 1:].max(axis=(1, 2)) > 0)[:, None]
        known = (intent_logits.max(axis=1, keepdims=True) > 0) | tagged
        return {
            "intent_logits": intent_logits,
            "slot_logits": tags,
            "sentiment_logits": mood_logits,
            "out_of_scope_logit": np.where(known, -4.0, 4.0).astype(np.float32),
        }

    return infer


@lru_cache(maxsize=4096)
def _vector_of(token: int) -> NDArray[np.float64]:
    return np.random.default_rng(token).normal(size=DIMENSIONS)


def encode_bag_of_tokens(inputs: Tensors) -> Outputs:
    """Mean of one fixed random vector a token id: texts with tokens in common lie close."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    vectors = np.zeros((len(ids), DIMENSIONS), np.float32)
    for row in range(len(ids)):
        # Every text has the first four, special tokens.
        for token in ids[row][(mask[row] == 1) & (ids[row] > 3)].tolist():
            vectors[row] += _vector_of(token)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"embedding": (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)}


def next_in_line(inputs: Tensors, products: int) -> Outputs:
    """Items by closeness of their index to the one after the last; all, the last one excepted."""
    history = inputs["history"]
    items = np.arange(1, products + 1)
    indexes = np.zeros((len(history), products - 1), np.int64)
    scores = np.zeros((len(history), products - 1), np.float32)
    for row, last in enumerate(history[:, -1]):
        distances = np.abs(items - (last + 1)).astype(np.float32)
        order = [i for i in np.argsort(distances, kind="stable") if items[i] != last]
        order = order[: products - 1]
        indexes[row] = items[order]
        scores[row] = -distances[order]
    return {"item_indexes": indexes, "scores": scores}


_RANKER_WEIGHTS = np.zeros(len(RANKER_DENSE), np.float32)
for _name, _weight in {
    "retrieval_score": 0.5,
    "retrieval_reciprocal_rank": 1.0,
    "category_share_recent": 3.0,
    "seen_before": -1.0,
}.items():
    _RANKER_WEIGHTS[RANKER_DENSE.index(_name)] = _weight


def rank_linearly(inputs: Tensors) -> Outputs:
    """Likes what is like the last interactions."""
    return {"score": (inputs["dense"] @ _RANKER_WEIGHTS - 1.0)[:, None]}


# Weight of a feature for an action, in log-odds before the softmax.
DECISION_WEIGHTS: dict[Action, dict[str, float]] = {
    Action.NONE: {"group_smalltalk": 3.0},
    Action.ANSWER: {"answer_known": 4.0, "best_passage_score": 1.0, "intent_confidence": 1.0},
    Action.RECOMMEND: {"items_found": 5.0},
    Action.OFFER: {"items_found": 2.0, "log_carts": 4.0},
    Action.CLARIFY: {"slot_missing": 6.0, "out_of_scope_probability": 2.0},
    Action.ESCALATE: {
        "asks_for_human": 9.0,
        "negative_probability": 3.0,
        "failures_in_a_row": 1.0,
    },
}


def decide_linearly(inputs: Tensors) -> Outputs:
    """Softmax over linear scores; propensity from carts and items."""
    features = inputs["features"]
    names = DecisionFeatures.names()
    weights = np.zeros((len(names), len(Action)), np.float32)
    for column, action in enumerate(Action):
        for name, weight in DECISION_WEIGHTS[action].items():
            weights[names.index(name), column] = weight
    scores = features @ weights
    # Nobody is passed on without a reason.
    scores[:, tuple(Action).index(Action.ESCALATE)] -= 2.0
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    eager = features[:, [names.index("log_carts")]] + features[:, [names.index("items_found")]]
    return {
        "action_probabilities": exponentials / exponentials.sum(axis=1, keepdims=True),
        "purchase_propensity": 1.0 / (1.0 + np.exp(2.0 - eager)),
    }


def _ids(tokenizer: tokenizers.Tokenizer, words: Sequence[str]) -> list[int]:
    ids = [tokenizer.token_to_id(word) for word in words]
    assert None not in ids, f"the tokenizer must know {words} whole"
    return ids

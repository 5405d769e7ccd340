import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import ModelContractViolated, ModelUnavailable
from serving.models.client import Tensors
from serving.models.tokenizer import Tokenizer
from serving.models.word_memory import Piece
from serving.steps.understand import (
    Understand,
    UnderstandingLabels,
    UnderstandInput,
    decode_slots,
)
from serving.types import Sentiment, Slot
from tests.fakes.models import LEXICON, InMemoryModels, understanding
from tests.fakes.tokens import small_tokenizer

TAGS = ("O", "B-product", "I-product", "B-size", "I-size")


def labels(**changes: object) -> UnderstandingLabels:
    values: dict[str, object] = {
        "intents": INTENT_NAMES,
        "slot_tags": SLOT_TAGS,
        "sentiments": tuple(s.value for s in Sentiment),
        "intent_temperature": 1.0,
        "out_of_scope_temperature": 1.0,
        "max_length": 64,
    }
    return UnderstandingLabels(**{**values, **changes})  # type: ignore[arg-type]


def context() -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(5000))


def step(models: InMemoryModels, **changes: object) -> Understand:
    return Understand(models, Tokenizer(small_tokenizer(LEXICON), 64), labels(**changes))


@pytest.fixture
def models() -> InMemoryModels:
    return InMemoryModels({"understanding": understanding(small_tokenizer(LEXICON))})


def pieces_of(words: list[list[str]]) -> tuple[str, list[Piece]]:
    """Text of words in pieces, with one blank between two words."""
    text, pieces = "", []
    for number, word in enumerate(words):
        text += " " if text else ""
        for part in word:
            pieces.append(Piece(start_char=len(text), end_char=len(text) + len(part), word=number))
            text += part
    return text, pieces


def certain(tags: list[str], probability: float = 0.9) -> NDArray[np.float64]:
    rest = (1.0 - probability) / (len(TAGS) - 1)
    rows = np.full((len(tags), len(TAGS)), rest)
    for row, tag in enumerate(tags):
        rows[row, TAGS.index(tag)] = probability
    return rows


@pytest.mark.parametrize(
    ("words", "tags", "expected"),
    [
        ([["red"], ["mug"]], ["B-product", "I-product"], [("product", "red mug")]),
        ([["red"], ["mug"]], ["O", "I-product"], [("product", "mug")]),
        ([["red"], ["mug"]], ["I-product", "I-product"], [("product", "red mug")]),
        ([["red"], ["mug"]], ["B-product", "B-product"], [("product", "red"), ("product", "mug")]),
        ([["mu", "g"]], ["B-product", "B-product"], [("product", "mug")]),
        ([["m", "u", "g"]], ["B-product", "O", "I-product"], [("product", "mug")]),
        ([["no", "12"]], ["O", "B-size"], [("size", "12")]),
        ([["mug"], ["x"], ["l"]], ["B-product", "O", "I-product"],
         [("product", "mug"), ("product", "l")]),
        ([["mug"], ["xl"]], ["B-product", "I-size"], [("product", "mug"), ("size", "xl")]),
        ([["mug"], ["xl"], ["z"]], ["B-product", "B-size", "I-product"],
         [("product", "mug"), ("size", "xl"), ("product", "z")]),
        ([["where"], ["now"]], ["O", "O"], []),
        ([], [], []),
    ],
    ids=[
        "B I is one span",
        "I without B begins a span",
        "I I is one span",
        "B B at words are two spans",
        "B inside a word goes on",
        "O inside a word cuts nothing",
        "a span may begin inside a word",
        "O between words ends a span",
        "I of another slot begins its span",
        "a slot after another one begins anew",
        "nothing is tagged",
        "nothing was said",
    ],
)  # fmt: skip
def test_tags_are_read_as_spans(
    words: list[list[str]], tags: list[str], expected: list[tuple[str, str]]
) -> None:
    text, pieces = pieces_of(words)
    slots = decode_slots(text, pieces, certain(tags), TAGS)
    assert [(slot.name, slot.value) for slot in slots] == expected


def test_confidence_is_the_mean_probability_of_the_slot_over_its_pieces() -> None:
    text, pieces = pieces_of([["red"], ["mug"]])
    rows = np.array([[0.1, 0.6, 0.3, 0.0, 0.0], [0.3, 0.1, 0.5, 0.1, 0.0]])
    (slot,) = decode_slots(text, pieces, rows, TAGS)
    assert slot.confidence == pytest.approx((0.9 + 0.6) / 2)


def test_blanks_inside_a_piece_do_not_belong_to_the_value() -> None:
    text = "a  mug  b"
    piece = [Piece(start_char=1, end_char=8, word=0)]
    (slot,) = decode_slots(text, piece, certain(["B-product"]), TAGS)
    assert slot == Slot(
        name="product", value="mug", start_char=3, end_char=6, confidence=slot.confidence
    )
    blank = [Piece(start_char=1, end_char=3, word=0)]
    assert decode_slots(text, blank, certain(["B-product"]), TAGS) == ()


@given(st.lists(st.tuples(st.sampled_from(TAGS), st.booleans()), max_size=12))
def test_any_row_of_tags_gives_ordered_spans_that_hold_their_values(
    tagged: list[tuple[str, bool]],
) -> None:
    words: list[list[str]] = []
    for _, begins_word in tagged:
        if begins_word or not words:
            words.append([])
        words[-1].append("ab")
    text, pieces = pieces_of(words)
    slots = decode_slots(text, pieces, certain([tag for tag, _ in tagged]), TAGS)
    ends = [0]
    for slot in slots:
        assert text[slot.start_char : slot.end_char] == slot.value == slot.value.strip() != ""
        assert slot.start_char >= ends[-1]
        assert 0.0 <= slot.confidence <= 1.0
        ends.append(slot.end_char)
    tagged_pieces = sum(tag != "O" for tag, _ in tagged)
    assert bool(slots) == bool(tagged_pieces)


async def test_an_utterance_is_understood(models: InMemoryModels) -> None:
    request = context()
    found = await step(models)(
        UnderstandInput(text="where is my order 12345, this is terrible"), request
    )
    assert found.intent == "track_order"
    assert 0.5 < found.intent_confidence <= 1.0
    assert [(s.name, s.value, s.start_char, s.end_char) for s in found.slots] == [
        ("order_number", "12345", 18, 23)
    ]
    assert found.sentiment is Sentiment.NEGATIVE
    assert found.sentiment_confidence == max(found.sentiment_probabilities)
    assert sum(found.sentiment_probabilities) == pytest.approx(1.0)
    assert found.out_of_scope_probability < 0.5
    assert request.model_versions == {"understanding": 1}


async def test_spans_count_code_points_behind_emoji_and_accents(models: InMemoryModels) -> None:
    text = "👩‍👩‍👧 Où?! where is e\u0301te\u0301 77"
    found = await step(models)(UnderstandInput(text=text), context())
    (slot,) = found.slots
    assert text[slot.start_char : slot.end_char] == slot.value == "77"


def test_a_value_keeps_the_combining_accent_of_its_last_letter() -> None:
    text = "the cafe\u0301 mug"
    piece = [Piece(start_char=4, end_char=8, word=0)]
    (slot,) = decode_slots(text, piece, certain(["B-product"]), TAGS)
    assert slot.value == "cafe\u0301"


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "x" * 50_000], ids=repr)
async def test_any_text_is_taken(models: InMemoryModels, text: str) -> None:
    found = await step(models)(UnderstandInput(text=text), context())
    assert found.slots == ()
    assert found.out_of_scope_probability > 0.5


async def test_temperatures_soften_without_changing_the_choice(models: InMemoryModels) -> None:
    request = UnderstandInput(text="where refund delivery where")
    sharp = await step(models)(request, context())
    soft = await step(models, intent_temperature=4.0, out_of_scope_temperature=2.0)(
        request, context()
    )
    assert soft.intent == sharp.intent
    assert soft.intent_confidence < sharp.intent_confidence
    # The fake's logit is -4.
    assert soft.out_of_scope_probability == pytest.approx(1 / (1 + math.exp(2.0)), rel=1e-4)


async def test_the_order_of_the_labels_is_the_models_own(models: InMemoryModels) -> None:
    def swapped(inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        outputs = understanding(small_tokenizer(LEXICON))(inputs)
        outputs["sentiment_logits"] = outputs["sentiment_logits"][:, ::-1]
        return outputs

    models.functions["understanding"] = swapped
    reverse = tuple(s.value for s in reversed(Sentiment))
    found = await step(models, sentiments=reverse)(UnderstandInput(text="awful"), context())
    assert found.sentiment is Sentiment.NEGATIVE
    assert found.sentiment_probabilities[0] == found.sentiment_confidence


@pytest.mark.parametrize(
    ("output", "value", "reason"),
    [
        ("intent_logits", np.zeros((1, 3), np.float32), "has the shape"),
        ("intent_logits", None, "is missing"),
        ("slot_logits", np.zeros((1, 8), np.float32), "has the shape"),
        ("sentiment_logits", np.full((1, 3), np.nan, np.float32), "NaN"),
        ("out_of_scope_logit", np.full((1, 1), np.inf, np.float32), "infinity"),
    ],
)
async def test_outputs_that_do_not_fit_are_refused(
    models: InMemoryModels, output: str, value: NDArray[np.float32] | None, reason: str
) -> None:
    whole = understanding(small_tokenizer(LEXICON))

    def broken(inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        outputs = whole(inputs)
        del outputs[output]
        return outputs if value is None else {**outputs, output: value}

    models.functions["understanding"] = broken
    with pytest.raises(ModelContractViolated, match=f"{output}.*{reason}"):
        await step(models)(UnderstandInput(text="hello"), context())


async def test_a_failing_model_is_not_swallowed(models: InMemoryModels) -> None:
    models.fail("understanding")
    with pytest.raises(ModelUnavailable):
        await step(models)(UnderstandInput(text="hello"), context())

"""Generated utterances: exact spans, every intent, moods, out-of-scope talk, honest groups."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.data.digest import utterances_digest
from model_build.data.grammar import Piece, expand, parse
from model_build.data.noise import type_out
from model_build.data.product_names import ProductNames
from model_build.data.shop import synthetic_shop
from model_build.data.slot_values import SlotValues
from model_build.data.tables import TableError, read_table
from model_build.data.types import LabelledUtterance, Shop
from model_build.data.utterances import OUT_OF_SCOPE_FACTOR, synthetic_utterances
from serving.dialogue.intents import INTENT_NAMES, INTENTS, SLOT_NAMES
from serving.types import Sentiment

_PER_INTENT = 60
_FILES = ("order", "payment", "delivery", "account", "product", "contact")


@pytest.fixture(scope="module")
def shop() -> Shop:
    return synthetic_shop(5, customers=150, orders=60)


@pytest.fixture(scope="module")
def utterances(shop: Shop) -> tuple[LabelledUtterance, ...]:
    return synthetic_utterances(shop, np.random.default_rng(5), _PER_INTENT)


def test_every_intent_has_at_least_25_templates() -> None:
    templates = {}
    for file in _FILES:
        templates |= read_table(f"phrases/{file}.toml")
    assert set(templates) == set(INTENTS)
    for intent, lines in templates.items():
        assert len(lines) >= 25, intent
        assert len(set(lines)) == len(lines), intent


def test_out_of_scope_talk_has_at_least_300_templates() -> None:
    kinds = read_table("phrases/out_of_scope.toml")
    lines = [line for lines in kinds.values() for line in lines]
    assert len(kinds) >= 10
    assert len(lines) >= 300
    assert len(set(lines)) == len(lines)


def test_every_intent_is_said_as_often_as_asked(
    utterances: tuple[LabelledUtterance, ...],
) -> None:
    counts = Counter(u.intent for u in utterances)
    assert {intent: counts[intent] for intent in INTENT_NAMES} == dict.fromkeys(
        INTENT_NAMES, _PER_INTENT
    )
    assert counts[None] == OUT_OF_SCOPE_FACTOR * _PER_INTENT
    assert all((u.intent is None) == u.out_of_scope for u in utterances)


def test_spans_cover_exactly_the_values(utterances: tuple[LabelledUtterance, ...]) -> None:
    shapes = {
        "order_number": re.compile(r"\d{5}"),
        "amount": re.compile(
            r"[€£$]?\d+([.,]\d\d)? ?(€|euros?|eur|bucks)?|[a-z -]+ euros", re.IGNORECASE
        ),
        "size": re.compile(
            r"\d+|\d+x\d+ cm|x*[sml]|(extra )?(small|large)|medium|x+l", re.IGNORECASE
        ),
        "date": re.compile(r"(?!on )[\w/.: -]+", re.IGNORECASE),
        "colour": re.compile(r"[\w -]+"),
        "product": re.compile(r"[\w'’&é -]+"),
    }
    seen: Counter[str] = Counter()
    for utterance in utterances:
        assert utterance.slots is not None
        last_end = 0
        for slot in utterance.slots:
            assert slot.name in SLOT_NAMES
            assert last_end <= slot.start_char < slot.end_char <= len(utterance.text)
            value = utterance.text[slot.start_char : slot.end_char]
            assert value == value.strip()
            assert shapes[slot.name].fullmatch(value), (slot.name, value)
            # The value ends where its word ends.
            around = utterance.text[: slot.start_char][-1:], utterance.text[slot.end_char :][:1]
            assert not any(c.isalnum() for c in around), utterance
            last_end = slot.end_char
            seen[slot.name] += 1
    assert set(seen) == set(SLOT_NAMES)
    assert sum(seen.values()) > 700


def test_an_order_number_is_never_left_without_its_slot(
    utterances: tuple[LabelledUtterance, ...],
) -> None:
    for utterance in utterances:
        if utterance.intent is None:
            continue
        labelled = {
            (s.start_char, s.end_char) for s in utterance.slots or () if s.name == "order_number"
        }
        found = {m.span() for m in re.finditer(r"(?<!\d)\d{5}(?!\d)", utterance.text)}
        assert found == labelled, utterance


def test_required_slots_are_sometimes_given_and_sometimes_not(
    utterances: tuple[LabelledUtterance, ...],
) -> None:
    given_slots: dict[str, list[bool]] = defaultdict(list)
    for utterance in utterances:
        if utterance.intent and (required := INTENTS[utterance.intent].required_slots):
            names = {s.name for s in utterance.slots or ()}
            given_slots[utterance.intent].append(set(required) <= names)
    for intent, flags in given_slots.items():
        assert any(flags), intent
        if "order_number" in INTENTS[intent].required_slots:
            assert not all(flags), intent


def test_moods_are_spread_over_plain_intents(utterances: tuple[LabelledUtterance, ...]) -> None:
    moods: dict[str | None, Counter[Sentiment | None]] = defaultdict(Counter)
    for utterance in utterances:
        moods[utterance.intent][utterance.sentiment] += 1
    assert moods["complaint"][Sentiment.NEGATIVE] > 0.5 * _PER_INTENT
    assert moods["thanks"][Sentiment.POSITIVE] > 0.5 * _PER_INTENT
    for intent in ("track_order", "delivery_period", "edit_account", "search_product"):
        assert moods[intent][Sentiment.NEGATIVE] >= 3
        assert moods[intent][Sentiment.POSITIVE] >= 1
        assert moods[intent][Sentiment.NEUTRAL] > 0.5 * _PER_INTENT


def test_a_text_stands_in_one_group_and_has_one_meaning(
    utterances: tuple[LabelledUtterance, ...],
) -> None:
    labels = defaultdict(set)
    for utterance in utterances:
        key = " ".join(re.findall(r"\w+", utterance.text.lower())) or utterance.text
        labels[key].add((utterance.intent, utterance.group))
    assert [key for key, found in labels.items() if len(found) > 1] == []


def test_texts_are_fit_to_send(utterances: tuple[LabelledUtterance, ...]) -> None:
    for utterance in utterances:
        assert utterance.text.strip() == utterance.text != ""
        assert len(utterance.text) <= 250
        assert not set("{}[]|") & set(utterance.text), utterance
        assert " ," not in utterance.text
        assert utterance.text.isprintable()


def test_a_seed_says_everything(shop: Shop) -> None:
    def digest(seed: int) -> str:
        return utterances_digest(synthetic_utterances(shop, np.random.default_rng(seed), 5))

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_no_utterances_are_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="per_intent must be at least 1, got 0"):
        synthetic_utterances(shop, np.random.default_rng(0), 0)


_words = st.text(st.sampled_from("abcdeé'’-019 ,.?"), min_size=1, max_size=12)
_values = st.text(st.sampled_from("abcxyz-019 "), min_size=1, max_size=12).filter(
    lambda value: value.strip() == value and "  " not in value
)


@settings(max_examples=100)
@given(
    parts=st.lists(st.tuples(_words, _values, st.sampled_from(SLOT_NAMES)), max_size=4),
    seed=st.integers(0, 2**32),
)
def test_values_survive_any_typing(parts: list[tuple[str, str, str]], seed: int) -> None:
    """Numbers, dates, amounts and sizes come out letter by letter; the rest nearly so."""
    pieces = []
    for word, value, slot in parts:
        pieces += [Piece(f"{word} "), Piece(value, slot), Piece(" ")]
    pieces.append(Piece("end"))
    text, spans = type_out(pieces, np.random.default_rng(seed))
    assert [span.name for span in spans] == [slot for _, _, slot in parts]
    for span, (_, value, slot) in zip(spans, parts, strict=True):
        typed = text[span.start_char : span.end_char]
        assert typed == typed.strip() != ""
        if slot not in {"product", "colour"}:
            assert typed.lower() == value.lower()
        assert abs(len(typed) - len(value)) <= len(value.split())


def test_a_template_says_all_of_its_choices_and_nothing_else() -> None:
    template = parse("(give|send) me [the (red|blue)] {thing}")
    rng = np.random.default_rng(0)

    def fill(name: str, rng: np.random.Generator) -> list[Piece]:
        return [Piece("mug", name)]

    said = {"".join(p.text for p in expand(template, rng, fill)) for _ in range(300)}
    middles = ("", "the red", "the blue")
    assert said == {f"{verb} me {m} mug" for verb in ("give", "send") for m in middles}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("where (is|are", "'\\)' is missing"),
        ("where [is", "'\\]' is missing"),
        ("where is)", "closes nothing"),
        ("where {order", "is not closed"),
        ("where} is", "closes nothing"),
        ("here|there", "outside of brackets"),
    ],
)
def test_a_broken_template_is_named(text: str, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        parse(text)


def test_an_unknown_name_in_a_template_is_named(shop: Shop) -> None:
    with pytest.raises(TableError, match=r"here: nothing known as \{colur\}"):
        SlotValues(shop).check(parse("a [(b|{colur})] c"), "here")


@pytest.mark.parametrize(
    ("one", "many", "article"),
    [
        ("coffee mug", "coffee mugs", "a "),
        ("espresso cup", "espresso cups", "an "),
        ("bread knife", "bread knives", "a "),
        ("toothbrush", "toothbrushes", "a "),
        ("diary", "diaries", "a "),
        ("toy", "toys", "a "),
        ("running shoes", "running shoes", "some "),
        ("green tea", "green tea", "some "),
        ("summer dress", "summer dresses", "a "),
    ],
)
def test_names_in_both_numbers(shop: Shop, one: str, many: str, article: str) -> None:
    names = ProductNames(shop)
    assert names.plural(one) == many
    assert names.singular(many) == one
    assert names.article(one) == article

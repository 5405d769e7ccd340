"""Slot values: their normal form, and finding them in an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dialogue.intents import SLOT_NAMES
from serving.dialogue.slots import find, normalise, says_no_more
from serving.types import Slot


@pytest.mark.parametrize(
    ("name", "value", "normal"),
    [
        ("order_number", "12345", "12345"),
        ("order_number", "#12345", "12345"),
        ("order_number", "no. 12345.", "12345"),
        ("order_number", "ORD-123 45", "12345"),
        ("order_number", "order number: 00712", "00712"),
        ("order_number", "\u0661\u0662\u0663\u0664\u0665", "12345"),
        ("order_number", "１２３４５", "12345"),
        ("order_number", "12", ""),
        ("order_number", "my last order", ""),
        ("order_number", "1" * 21, ""),
        ("order_number", "²³¹", ""),
        ("product", "  a   red mug. ", "red mug"),
        ("product", "I'm looking for the Running Shoes", "Running Shoes"),
        ("product", "a", "a"),
        ("product", "x" * 201, ""),
        ("colour", "Dark Blue", "dark blue"),
        ("size", "xl", "XL"),
        ("size", "42 CM", "42 cm"),
        ("date", "3rd  of November,", "3rd of November"),
        ("amount", "€49.90", "€49.90"),
        ("unheard of", ' "x" ', "x"),
        ("colour", " .,! ", ""),
    ],
)
def test_normal_form(name: str, value: str, normal: str) -> None:
    assert normalise(name, value) == normal


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("order_number", "12345", "12345"),
        ("order_number", "it's 12345 I think", "12345"),
        ("order_number", "#12345!", "12345"),
        ("order_number", "my order no. is 12345, thanks", "12345"),
        ("order_number", "ORD-12345", "12345"),
        ("order_number", "I bought 2 mugs in order 123456.", "123456"),
        ("order_number", "4711", "4711"),
        ("order_number", "it's 4711", "4711"),
        ("order_number", "I bought it with 4711 others", None),
        ("order_number", "in 2024", None),
        ("order_number", "on 2026-11-22", None),
        ("order_number", "it cost €12345", None),
        ("order_number", "it cost 12345 euros", None),
        ("order_number", "12.345,67", None),
        ("order_number", "a1234567b", None),
        ("order_number", "12345678901234567890", None),
        ("order_number", "I do not have it", None),
        ("product", "mugs", "mugs"),
        ("product", "a red mug, please", "red mug"),
        ("product", "I'm looking for some running shoes", "running shoes"),
        ("product", "I don't know", None),
        ("product", "not sure yet", None),
        ("product", "no idea", None),
        ("product", "never mind", None),
        ("product", "what?", None),
        ("product", "what do you mean", None),
        ("product", "", None),
        ("product", "please", None),
        ("product", "well you see my mother had one of those blue things once", None),
        ("colour", "rather Light Grey, please", "light grey"),
        ("colour", "something bright", None),
        ("size", "I'm an XL", "XL"),
        ("size", "I'm between jobs", None),
        ("size", "42.5", "42.5"),
        ("date", "on the 3rd of November 2026", "3rd of November 2026"),
        ("date", "last friday", "last friday"),
        ("date", "2026-11-22", "2026-11-22"),
        ("date", "soon", None),
        ("amount", "about 49.90 euros", "49.90 euros"),
        ("amount", "nothing", None),
        ("unheard of", "anything", None),
        ("", "anything", None),
    ],
)
def test_found_in_an_answer(name: str, text: str, value: str | None) -> None:
    slot = find(name, text)
    assert (slot.value if slot else None) == value
    if slot:
        assert normalise(name, text[slot.start_char : slot.end_char]) == value


@pytest.mark.parametrize(
    ("text", "nothing_more"),
    [
        ("12345", True),
        ("it's 12345 I think", True),
        ("My order number is 12345, thank you!", True),
        ("cancel 12345", False),
        ("12345 is broken", False),
    ],
)
def test_whether_anything_else_is_said(text: str, nothing_more: bool) -> None:
    start = text.index("12345")
    slot = Slot(name="order_number", value="12345", start_char=start, end_char=start + 5)
    assert says_no_more(text, [slot]) is nothing_more


@given(st.sampled_from(SLOT_NAMES), st.text(max_size=300))
def test_the_normal_form_of_a_normal_form_is_itself(name: str, text: str) -> None:
    normal = normalise(name, text)
    assert normalise(name, normal) == normal
    assert len(normal) <= 200


@given(st.sampled_from(SLOT_NAMES), st.text(max_size=300))
def test_what_is_found_stands_in_the_text(name: str, text: str) -> None:
    slot = find(name, text)
    if slot is not None:
        assert 0 <= slot.start_char < slot.end_char <= len(text)
        assert slot.value == normalise(name, text[slot.start_char : slot.end_char])


@pytest.mark.parametrize("name", SLOT_NAMES)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" * 100_000, id="digits"),
        pytest.param("not " * 25_000, id="denials"),
        pytest.param("a the my " * 11_000, id="articles"),
        pytest.param("1,000," * 17_000, id="amounts"),
        pytest.param("x" * 100_000, id="letters"),
        pytest.param(" " * 100_000, id="blanks"),
        pytest.param(", please" * 12_000, id="courtesy"),
    ],
)
def test_a_long_text_takes_no_long_time(name: str, text: str) -> None:
    find(name, text)
    normalise(name, text)
    says_no_more(text, [])

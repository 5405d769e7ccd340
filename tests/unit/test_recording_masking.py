"""Masking: what must go, what must stay, and that stand-ins are consistent."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.recording.masking import Kind, Masker

KEY = b"0123456789abcdef"
MASKER = Masker(KEY, known_names=["Zuzana", "Li Wei", "Al"])


def kinds(text: str) -> dict[str, int]:
    return {kind.value: count for kind, count in MASKER.mask(text).found.items()}


# What has to go, and the kind that it is taken for.
HARD = [
    ("write to anna.k+shop@mail.example.co.uk please", "anna.k+shop@mail.example.co.uk", "e-mail"),
    ("it's JOHN_DOE99@Example.COM!", "JOHN_DOE99@Example.COM", "e-mail"),
    ("john (at) example.com", "john (at) example.com", "e-mail"),
    ("jürgen@müller.de", "jürgen@müller.de", "e-mail"),
    ("my card 4111 1111 1111 1111 was charged", "4111 1111 1111 1111", "card"),
    ("card:5500-0000-0000-0004.", "5500-0000-0000-0004", "card"),
    ("amex 378282246310005 twice", "378282246310005", "card"),
    ("refund to DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00", "account"),
    ("call me on +44 (0)20 7946 0958", "+44 (0)20 7946 0958", "phone"),
    ("my number is 555-867-5309", "555-867-5309", "phone"),
    ("phone 5558675309 any time", "5558675309", "phone"),
    ("(212) 555-0187 is mine", "(212) 555-0187", "phone"),
    ("0049 170 1234567", "0049 170 1234567", "phone"),
    ("send it to 221b Baker Street, London", "221b Baker Street, London", "address"),
    ("i live at 1600 pennsylvania ave", "1600 pennsylvania ave", "address"),
    ("Lange Hauptstraße 12a bitte", "Hauptstraße 12a", "address"),
    ("5 rue de la Paix, Paris", "5 rue de la Paix", "address"),
    ("to P.O. Box 4711", "P.O. Box 4711", "address"),
    ("postcode SW1A 1AA", "SW1A 1AA", "address"),
    ("my name is anna schmidt and i want a refund", "anna schmidt", "name"),
    ("My name's O'Brien", "O'Brien", "name"),
    ("this is Maria de la Cruz calling", "Maria de la Cruz", "name"),
    ("Thanks, Jean-Luc Picard", "Jean-Luc Picard", "name"),
    ("Dear Mrs. Åkesson, where is it", "Åkesson", "name"),
    ("Regards, Tom", "Tom", "name"),
    ("zuzana ordered it for me", "zuzana", "name"),
    ("ask LI WEI about it", "LI WEI", "name"),
    ("where is my order 12345?", "12345", "number"),
    ("order #ORD-2024-00017 is late", "2024-00017", "number"),
    ("tracking 1Z999AA10123456784", "1Z999AA10123456784", "number"),
]


@pytest.mark.parametrize(("text", "secret", "kind"), HARD, ids=[secret for _, secret, _ in HARD])
def test_what_tells_who_wrote_it_goes(text: str, secret: str, kind: str) -> None:
    masked = MASKER.mask(text)
    assert secret.casefold() not in masked.text.casefold()
    assert kind in kinds(text)
    # What stands around it is what the model reads.
    before, _, after = text.partition(secret)
    assert masked.text.startswith(before)
    assert masked.text.endswith(after)


@pytest.mark.parametrize(
    "text",
    [
        "do you have blue mugs under $20?",
        "I'm looking for a red dress in size 38",
        "I am Angry about this",
        "is the XL2 lamp back in stock",
        "it cost 1250 euros",
        "does it ship within 24 hours or 3-5 days",
        "thanks for your help, it works now",
        "this is the best shop",
        "can i pay in 12 instalments",
        "my name is on the box",
        "",
    ],
)
def test_what_says_nothing_about_anybody_stays(text: str) -> None:
    assert MASKER.mask(text).text == text


def test_the_same_gets_the_same_stand_in_however_it_is_written() -> None:
    first = MASKER.mask("order 12345 for anna@example.org").text
    again = MASKER.mask("anna@example.org: ORDER #12345").text
    number = re.search(r"\d{5}", first)
    email = re.search(r"\S+@\S+", first)
    assert number is not None
    assert email is not None
    assert f"#{number[0]}" in again
    assert email[0] in again
    card = MASKER.mask("4111 1111 1111 1111").text
    assert MASKER.mask("4111111111111111").text == card.replace(" ", "")


def test_another_key_gives_other_stand_ins() -> None:
    text = "order 1234567890123 from my name is anna schmidt"
    assert MASKER.mask(text).text != Masker(b"another key of 16").mask(text).text


def test_a_stand_in_has_the_shape_of_what_it_stands_for() -> None:
    masked = MASKER.mask("order ORD-20417-b, card 4111-1111-1111-1111, tel +44 20 7946 0958").text
    assert re.fullmatch(
        r"order ORD-[1-9]\d{4}-[a-z], card \d{4}-\d{4}-\d{4}-\d{4}, tel \+\d\d \d\d \d{4} \d{4}",
        masked,
    )


def test_a_card_becomes_no_card() -> None:
    from serving.recording.masking import _is_card

    for number in range(200):
        masked = Masker(number.to_bytes(16, "big")).mask("4111 1111 1111 1111").text
        assert not _is_card(masked)


def test_several_in_one_text_are_all_found() -> None:
    text = (
        "Hi, my name is Anna Schmidt, order 88123 went to 12 Oak Road instead of "
        "14 Oak Road; reach me at anna@example.org or +1 555 010 9999"
    )
    masked = MASKER.mask(text)
    assert masked.found == {
        Kind.NAME: 1,
        Kind.NUMBER: 1,
        Kind.ADDRESS: 2,
        Kind.EMAIL: 1,
        Kind.PHONE: 1,
    }
    for secret in ("Anna", "Schmidt", "88123", "Oak", "anna@", "010 9999"):
        assert secret not in masked.text


@pytest.mark.parametrize(
    ("text", "part", "stand_in"),
    [
        # Alone, none of them would be taken for what it is.
        ("my name is anna schmidt and i want a refund", "anna schmidt", "[a-z]+ [a-z]+"),
        ("phone 5558675309 any time", "5558675309", r"\d{10}"),
        ("anna@example.org: where is order 12345?", "12345", r"\d{5}"),
        ("order 12345 in blue", "blue", "blue"),
        # A part of what was masked stands for the whole of it.
        ("refund to DE89 3704 0044 0532 0130 00 now", "3704", r"[A-Z]{2}\d\d( [\dA-Z]{4}){4} \d\d"),
        ("to 14 Oak Road please", "Road please", r"\d+ \w+ Street please"),
    ],
)
def test_a_part_of_the_original_is_found_in_the_masked_text(
    text: str, part: str, stand_in: str
) -> None:
    start = text.index(part)
    found = MASKER.mask(text).part(start, start + len(part))
    assert re.fullmatch(stand_in, found)
    assert found == part or part not in found


@given(st.text(max_size=60), st.data())
def test_parts_joined_are_the_whole(text: str, data: st.DataObject) -> None:
    masked = MASKER.mask(text + " order 12345, anna@example.org")
    length = len(text) + 30
    # Not through a stand-in: both parts would have it.
    at = data.draw(st.integers(0, length))
    if all(not one.original_start < at < one.original_end for one in masked.replaced):
        assert masked.part(0, at) + masked.part(at, length) == masked.text
    assert masked.part(at, at) == "" or any(
        one.original_start <= at < one.original_end for one in masked.replaced
    )


def test_a_very_long_word_is_no_trouble() -> None:
    # Four times the length takes about four times as long and not sixteen times.
    short, long = (_seconds("a." * length) for length in (500, 2000))
    assert long < 10 * short


def _seconds(text: str) -> float:
    """The shortest of several times."""
    times = []
    for _ in range(5):
        began_s = time.perf_counter()
        MASKER.mask(text)
        times.append(time.perf_counter() - began_s)
    return min(times)


@given(st.text(max_size=200))
def test_any_text_is_masked_without_an_error_and_twice_the_same(text: str) -> None:
    assert MASKER.mask(text) == MASKER.mask(text)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key: must have at least 16 bytes, got 3"):
        Masker(b"abc")

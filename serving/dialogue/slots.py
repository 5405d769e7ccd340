"""Slot values: their normal form, and how the answer to a question is found without the model.

    name           normal form                               found in an answer by
    order_number   its 3 to 20 digits: "#12 345" -> "12345"  5 to 12 digits (4 if nothing else is
                                                             said) that are no date or amount
    product        trimmed: "a mug, please" -> "mug"         the whole answer, if it is short
    colour         lower case                                a basic colour's name
    size           letters in capitals: "xl" -> "XL"         a size in letters, words or digits
    date           as said                                   digits, a month, a day's name
    amount         as said                                   a number, with or without a currency

Everything here is pure and takes any text.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

from serving.types import Slot
from serving.words import content_words

# A longer value is no value; this also bounds what a session can grow to.
LONGEST_VALUE_CHARS = 200
# Only so much of a text is searched: an answer is at its beginning.
_SEARCHED_CHARS = 1000
# A product named in more words than this is not an answer to "which product?".
_PRODUCT_WORDS = 6

_EDGES = " \t\r\n.,;:!?\"'()[]«»“”‘’"
_ARTICLE = re.compile(
    r"^(?:(?:i(?:'m| am)|we(?:'re| are)) looking for|i(?:'d| would) like|i (?:want|need)"
    r"|it(?:'s| is|s)|that(?:'s| is)|maybe|perhaps|some|any|an|a|the|my|your|this|these|those)"
    r"\b\s*",
    re.IGNORECASE,
)
_COURTESY = re.compile(r"[\s,]*\b(?:please|pls|thanks|thank you)$", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"\?|\b(?:(?:do ?n[o']t|not|no|never)\b.*\b(?:know|sure|idea|have|clue|mind|remember)"
    r"|nothing|none|whatever|nevermind|what|why|who|where|when|how)\b",
    re.IGNORECASE,
)
# Words that surround a value in an answer and say nothing else.
_FILLERS = frozenset(
    ("order", "number", "nr", "id", "think", "believe", "guess", "called", "named")
)

_ORDER_NUMBER = re.compile(
    r"(?<![\w€$£])(?<!\d[.,:/-])#?(\d{4,12})(?![\w€$£%])(?![.,:/-]\d)(?!\s*(?:euros?|eur|usd|dollars?)\b)",
    re.IGNORECASE,
)
_COLOUR = re.compile(
    r"\b(?:(?:light|dark|bright|navy|sky|off)[ -])?"
    r"(?:black|white|gr[ae]y|silver|red|blue|navy|green|yellow|orange|purple|violet|pink|brown"
    r"|beige|cream|gold|golden|turquoise|teal|khaki|olive|burgundy|ivory|multicolou?red)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"(?<!['’])\b(?:(?:\d|x{1,3})?xl|x{0,3}s|m|l|extra (?:small|large)|small|medium|large|one size"
    r"|\d{2,3}(?:[.,]5)?(?: ?(?:cm|mm|inch|inches|l|ml))?)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}(?:[./]\d{2,4})?"
    r"|(?:\d{1,2}(?:st|nd|rd|th)?(?: of)? )?(?:january|february|march|april|may|june|july|august"
    r"|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b"
    r"(?:\.? \d{1,2}(?:st|nd|rd|th)?\b)?(?:,? \d{4}\b)?"
    r"|today|tomorrow|yesterday|(?:(?:last|next|this) )?"
    r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|week|month))\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(?<![\w.,])[€$£]? ?\d{1,6}(?:[.,]\d{3})*(?:[.,]\d{1,2})?"
    r"(?: ?(?:€|\$|£|euros?\b|eur\b|dollars?\b|usd\b|pounds?\b|gbp\b))?(?![\w])",
    re.IGNORECASE,
)
_LETTER_SIZE = re.compile(r"(?:\d|x{1,3})?xl|x{0,3}s|m|l", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")


def normalise(name: str, value: str) -> str:
    """The value's normal form; empty if it cannot be a value of this slot.

    A slot without a rule of its own keeps its value without blanks and marks around it.
    """
    text = " ".join(value.split()).strip(_EDGES)
    if len(text) > LONGEST_VALUE_CHARS:
        return ""
    match name:
        case "order_number":
            # Any script's digits; ² and the like are digits, too, but not decimals.
            text = "".join(str(unicodedata.decimal(c)) for c in text if c.isdecimal())
            return text if 3 <= len(text) <= 20 else ""
        case "product":
            text = _trimmed(text)
        case "colour":
            text = text.lower()
        case "size":
            text = text.upper() if _LETTER_SIZE.fullmatch(text) else text.lower()
    # A few letters become longer in another case.
    return text[:LONGEST_VALUE_CHARS]


def find(name: str, text: str) -> Slot | None:
    """The slot's value in a text that answers the question for it; None if it holds none."""
    finder = _FINDERS.get(name)
    span = finder(text[:_SEARCHED_CHARS]) if finder else None
    if span is None:
        return None
    start, end = span
    value = normalise(name, text[start:end])
    return Slot(name=name, value=value, start_char=start, end_char=end) if value else None


def says_no_more(text: str, slots: Sequence[Slot]) -> bool:
    """Whether a text holds nothing of content beside the slots, as "it's 12345 I think"."""
    rest = list(text)
    for slot in slots:
        rest[slot.start_char : slot.end_char] = " " * (slot.end_char - slot.start_char)
    return not content_words("".join(rest)) - _FILLERS


def _find_order_number(text: str) -> tuple[int, int] | None:
    for match in _ORDER_NUMBER.finditer(text):
        long_enough = match.end(1) - match.start(1) >= 5
        if long_enough or (not _YEAR.fullmatch(match[1]) and _alone(text, match.span())):
            return match.span()
    return None


def _find_product(text: str) -> tuple[int, int] | None:
    stripped = text.strip(_EDGES)
    if _NO_ANSWER.search(text) or not 0 < len(stripped.split()) <= _PRODUCT_WORDS + 4:
        return None
    product = _trimmed(stripped)
    if len(product.split()) > _PRODUCT_WORDS or not content_words(product) - _FILLERS:
        return None
    start = text.index(product)
    return start, start + len(product)


def _searcher(pattern: re.Pattern[str]) -> Callable[[str], tuple[int, int] | None]:
    def find_span(text: str) -> tuple[int, int] | None:
        match = pattern.search(text)
        return match.span() if match else None

    return find_span


_FINDERS: dict[str, Callable[[str], tuple[int, int] | None]] = {
    "order_number": _find_order_number,
    "product": _find_product,
    "colour": _searcher(_COLOUR),
    "size": _searcher(_SIZE),
    "date": _searcher(_DATE),
    "amount": _searcher(_AMOUNT),
}


def _trimmed(text: str) -> str:
    """The text without what only introduces or closes it, unless nothing else is in it."""
    while True:
        shorter = _COURTESY.sub("", _ARTICLE.sub("", text, count=1)).strip(_EDGES)
        if not shorter or shorter == text:
            return text
        text = shorter


def _alone(text: str, span: tuple[int, int]) -> bool:
    return not content_words(text[: span[0]] + " " + text[span[1] :]) - _FILLERS

"""Takes out of a text what says who wrote it, and puts consistent stand-ins in its place.

    text ─▶ finders, the surest first ─▶ spans ─▶ stand-ins of the same kind and shape ─▶ text

A stand-in depends on what it stands for and on a key: within one recording the same order number
becomes the same other number, so that conversations still make sense and a model still sees an
e-mail where one was; without the key nothing leads back. Rather too much is masked than too little:
a number that is none of a customer's becomes another number of the same length.

Rules, not a model: they are the same on every machine, cost microseconds, and what they miss can be
read in `tests/unit/test_recording_masking.py`.
"""

import hashlib
import hmac
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_FEWEST_CARD_DIGITS, _MOST_CARD_DIGITS = 13, 19
_FEWEST_PHONE_DIGITS, _MOST_PHONE_DIGITS = 7, 15
_SHORTEST_KNOWN_NAME = 3

# Common in several languages, so that a stand-in gives no hint of its own.
_FIRST = (
    *("Alex", "Sam", "Robin", "Charlie", "Kim", "Jamie", "Taylor", "Morgan", "Jordan", "Casey"),
    *("Riley", "Quinn", "Avery", "Rowan", "Skyler", "Dana", "Jessie", "Marlin", "Noa", "Sasha"),
)
_LAST = (
    *("Brook", "Field", "Hill", "Lane", "Marsh", "North", "Park", "Reed", "Stone", "Vale"),
    *("Wood", "Bay", "Ford", "Glen", "Heath", "Lake", "Moor", "Ridge", "Shaw", "West"),
)
_STREETS = ("Maple", "Cedar", "Willow", "Birch", "Juniper", "Linden", "Aspen", "Hazel")


class Kind(StrEnum):
    """What was found."""

    EMAIL = "e-mail"
    CARD = "card"
    ACCOUNT = "account"
    PHONE = "phone"
    ADDRESS = "address"
    NAME = "name"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Replacement:
    """A stand-in: where it stands, and where in the original what it stands for. Half-open."""

    original_start: int
    original_end: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A text that tells nobody who wrote it, as far as the rules go."""

    text: str
    # How many of each kind were replaced.
    found: Counter[Kind]
    # In the order of the text.
    replaced: tuple[Replacement, ...]

    def part(self, original_start: int, original_end: int) -> str:
        """What stands for a span of the original; a stand-in that it touches is there whole."""
        start, end = original_start, original_end
        for one in self.replaced:
            moved = one.end - one.original_end
            if one.original_end <= original_start:
                start = original_start + moved
            elif one.original_start <= original_start:
                start = one.start
            if one.original_end < original_end:
                end = original_end + moved
            elif one.original_start < original_end:
                end = one.end
        return self.text[start:end]


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    kind: Kind


# The part before the "@" has 64 characters at most (RFC 5321), which also bounds the search.
_EMAIL = re.compile(r"[\w.+%'-]{1,64}(?:@|\s?(?:\(at\)|\[at\])\s?)[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\w-])\d(?:[ .-]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", re.I)
_PHONE = re.compile(r"(?<![\w-])(?:\+|00|\()?\d(?:[ ()./-]{0,3}\d){6,14}(?![\w-])")
# Longest text that it matches.
_PHONE_BEFORE_CHARS = 40
_PHONE_BEFORE = re.compile(
    r"(?:phone|mobile|cell|tel|telephone|call(?: me)?|text|whatsapp|fax|reach me|contact)\b"
    r"[^\d+]{0,24}$",
    re.I,
)
_STREET_KIND = (
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|court|ct|square|sq|way|"
    r"place|pl|terrace|close|crescent|highway|hwy|parkway|pkwy)"
)
_TOWN = r"(?:\s*,\s*[A-Z][\w'.-]+(?:\s[A-Z][\w'.-]+){0,2})"
_ADDRESSES = (
    # 12 Baker Street, London NW1 6XE; 1600 pennsylvania ave
    re.compile(
        rf"(?<!\w)\d{{1,5}}[A-Za-z]?\s+(?:(?!\d)[\w'.-]+\s+){{1,3}}?(?i:{_STREET_KIND})\b\.?"
        rf"(?:\s*,?\s*(?i:flat|apt|apartment|unit|suite)\.?\s*#?\w{{1,5}})?{_TOWN}{{0,2}}"
    ),
    # Hauptstraße 12a; "Am Markt 3" is not found
    re.compile(
        r"(?<!\w)\w+(?:straße|strasse|str\.|weg|gasse|platz|allee)\s+\d{1,4}\s?[a-z]?\b", re.I
    ),
    # 5 rue de la Paix
    re.compile(
        r"(?<!\w)(?:\d{1,4}(?:\s?bis)?,?\s+)(?:rue|avenue|boulevard|place|chemin|via|calle|piazza)"
        r"\s+(?:(?:de|du|des|la|le|les|del|della|di)\s+){0,2}[\w'-]+(?:\s[A-Z][\w'-]+){0,2}",
        re.I,
    ),
    re.compile(r"(?<!\w)(?:p\.?\s?o\.?|post)\s?box\s+\d+", re.I),
    # Postcodes of the United Kingdom and Canada; those of digits alone are numbers.
    re.compile(r"(?<!\w)[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}(?!\w)", re.I),
    re.compile(r"(?<!\w)[A-Z]\d[A-Z]\s?\d[A-Z]\d(?!\w)", re.I),
)
_WORD = r"[^\W\d_](?:[\w'’-]*\w)?"
_CAPITAL = r"[A-ZÀ-ÖØ-Þ](?:[\w'’-]*\w)?"
_NOT_A_NAME = (
    r"(?!(?:and|but|i|im|i'm|my|the|a|an|on|in|from|with|is|was|not|to|for|of|at|please|can|could|"
    r"your|you|we|it|it's|this|that|here|there|so|because|where|what|when|how|why|who)\b)"
)
_NAMES = (
    # Nobody says this of anything but a name, whatever its letters.
    re.compile(
        rf"\b(?i:my (?:full |last |first |sur)?name(?:'s| is)|name:|i am called|i'm called|"
        rf"they call me|on the name of|in the name of|under the name(?: of)?)\s+"
        rf"(?P<name>(?i:{_NOT_A_NAME}{_WORD}(?:\s+{_NOT_A_NAME}{_WORD}){{0,2}}))"
    ),
    # These are followed by much else: there capitals tell.
    re.compile(
        rf"\b(?i:this is|i am|i'm|im|mr|mrs|ms|miss|dr|prof|dear|regards|thanks|thank you|cheers|"
        rf"sincerely|best|greetings|signed|yours|for|to|ask for|speak to|contact)[.,!]?\s+"
        rf"(?P<name>{_NOT_A_NAME}{_CAPITAL}(?:\s+(?:(?:van|von|de|da|der|den|la|le|bin|al)\s+){{0,2}}"
        rf"{_CAPITAL}){{1,3}})"
    ),
    re.compile(
        rf"\b(?i:mr|mrs|ms|miss|dr|prof|regards|cheers|sincerely|signed|greetings)[.,!]?\s+"
        rf"(?P<name>{_NOT_A_NAME}{_CAPITAL})(?!\w)"
    ),
    re.compile(rf"(?i:^|[.!?]\s+)(?i:i'm|i am|this is)\s+(?P<name>{_CAPITAL})(?=\s*(?:[,.!]|$))"),
)
_NUMBER = re.compile(
    r"(?<![\w€$£.,-])#?(?=[A-Za-z0-9-]*\d{3})[A-Za-z]{0,5}-?\d[A-Za-z0-9]*(?:-[A-Za-z0-9]+)*(?![\w])"
)
_MONEY_AFTER = re.compile(r"\s?(?:€|\$|£|eur|euros?|usd|dollars?|pounds?|gbp)\b", re.I)


class Masker:
    """Masks texts with one key. Safe to share between threads."""

    def __init__(self, key: bytes, known_names: Iterable[str] = ()) -> None:
        """Takes the key of a recording.

        Args:
            key: at least 16 random bytes; without it no stand-in leads back.
            known_names: names that the shop knows; found wherever they stand.

        Raises:
            ValueError: the key is too short.
        """
        if len(key) < 16:
            raise ValueError(f"key: must have at least 16 bytes, got {len(key)}")
        self._key = key
        known = sorted(
            {name.strip() for name in known_names if len(name.strip()) >= _SHORTEST_KNOWN_NAME},
            key=lambda name: -len(name),
        )
        self._known = (
            re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, known)) + r")(?!\w)", re.I)
            if known
            else None
        )

    def mask(self, text: str) -> Masked:
        """The text with stand-ins."""
        spans: list[_Span] = []
        for span in self._found(text):
            # The surest comes first and keeps its place.
            after = bisect_left(spans, span.end, key=lambda other: other.start)
            if not after or spans[after - 1].end <= span.start:
                spans.insert(after, span)
        parts, replaced = [], []
        # End of what is done: of the original, and of the masked text.
        at, masked_at = 0, 0
        for span in spans:
            stand_in = self._stand_in(text[span.start : span.end], span.kind)
            start = masked_at + span.start - at
            masked_at = start + len(stand_in)
            parts += [text[at : span.start], stand_in]
            replaced.append(Replacement(span.start, span.end, start, masked_at))
            at = span.end
        return Masked(
            text="".join([*parts, text[at:]]),
            found=Counter(span.kind for span in spans),
            replaced=tuple(replaced),
        )

    def _found(self, text: str) -> Iterator[_Span]:
        for match in _EMAIL.finditer(text):
            yield _Span(*match.span(), Kind.EMAIL)
        for match in _IBAN.finditer(text):
            if sum(c.isdigit() for c in match[0]) >= _FEWEST_CARD_DIGITS:
                yield _Span(*match.span(), Kind.ACCOUNT)
        for match in _CARD.finditer(text):
            if _is_card(match[0]):
                yield _Span(*match.span(), Kind.CARD)
        for pattern in _ADDRESSES:
            for match in pattern.finditer(text):
                yield _Span(*match.span(), Kind.ADDRESS)
        for match in _PHONE.finditer(text):
            if _is_phone(text, match):
                yield _Span(*match.span(), Kind.PHONE)
        for pattern in _NAMES:
            for match in pattern.finditer(text):
                yield _Span(*match.span("name"), Kind.NAME)
        if self._known is not None:
            for match in self._known.finditer(text):
                yield _Span(*match.span(), Kind.NAME)
        for match in _NUMBER.finditer(text):
            if not _MONEY_AFTER.match(text, match.end()):
                yield _Span(*match.span(), Kind.NUMBER)

    def _stand_in(self, found: str, kind: Kind) -> str:
        # What differs in writing alone is the same.
        same = "".join(c for c in found.casefold() if c.isalnum() or c == "@")
        digest = hmac.new(self._key, f"{kind}:{same}".encode(), hashlib.blake2b).digest()
        return _MAKERS[kind](found, digest)


def _is_card(found: str) -> bool:
    """Whether the digits carry the check digit of payment cards (Luhn, ISO/IEC 7812)."""
    digits = [int(c) for c in found if c.isdigit()]
    if not _FEWEST_CARD_DIGITS <= len(digits) <= _MOST_CARD_DIGITS:
        return False
    doubled = (2 * d - 9 * (d > 4) if i % 2 else d for i, d in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def _is_phone(text: str, match: "re.Match[str]") -> bool:
    """Digits are a phone number if they are written like one, or the words before say so."""
    found = match[0]
    digits = sum(c.isdigit() for c in found)
    if not _FEWEST_PHONE_DIGITS <= digits <= _MOST_PHONE_DIGITS:
        return False
    written_so = found[0] in "+(" or (found.startswith("00") and digits > 9)
    groups = re.split(r"[ ()./-]+", found.strip("()+"))
    before = text[max(0, match.start() - _PHONE_BEFORE_CHARS) : match.start()]
    return written_so or len(groups) >= 3 or bool(_PHONE_BEFORE.search(before))


# ---- stand-ins -----------------------------------------------------------------------------------


def _digits(found: str, digest: bytes) -> str:
    """The same writing with other digits; the first is not 0 unless it was."""
    made, used = [], 0
    for c in found:
        if not c.isdigit():
            made.append(c)
            continue
        value = digest[used % len(digest)]
        used += 1
        made.append(str(value % 9 + 1 if used == 1 and c != "0" else value % 10))
    return "".join(made)


def _number(found: str, digest: bytes) -> str:
    """Letters before the first digit are the shop's, not the customer's, and stay."""
    first = next(i for i, c in enumerate(found) if c.isdigit())
    made = [found[:first]]
    for used, c in enumerate(found[first:]):
        value = digest[used % len(digest)]
        if c.isdigit():
            made.append(str(value % 9 + 1 if not used and c != "0" else value % 10))
        elif c.isalpha():
            letter = chr(ord("a") + value % 26)
            made.append(letter.upper() if c.isupper() else letter)
        else:
            made.append(c)
    return "".join(made)


def _email(_found: str, digest: bytes) -> str:
    return f"customer{int.from_bytes(digest[:4], 'big') % 10**6:06d}@example.com"


def _card(found: str, digest: bytes) -> str:
    """Other digits that are surely no card's."""
    made = _digits(found, digest)
    if not _is_card(made):
        return made
    return made[:-1] + str((int(made[-1]) + 1) % 10)


def _address(found: str, digest: bytes) -> str:
    number = int.from_bytes(digest[:2], "big") % 200 + 1
    street = f"{number} {_STREETS[digest[2] % len(_STREETS)]} Street"
    return street if any(c.isupper() for c in found) else street.lower()


def _name(found: str, digest: bytes) -> str:
    words = found.split()
    made = [_FIRST[digest[0] % len(_FIRST)]]
    made += [_LAST[digest[i] % len(_LAST)] for i in range(1, min(len(words), 3))]
    name = " ".join(made)
    return name if any(c.isupper() for c in found) else name.lower()


_MAKERS: dict[Kind, Callable[[str, bytes], str]] = {
    Kind.EMAIL: _email,
    Kind.CARD: _card,
    Kind.ACCOUNT: _number,
    Kind.PHONE: _digits,
    Kind.ADDRESS: _address,
    Kind.NAME: _name,
    Kind.NUMBER: _number,
}

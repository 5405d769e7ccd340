"""How people really type: an utterance's pieces -> text with typos, and the spans of its slots.

The pieces are cut into tokens that remember their slot, the tokens are misspelled, and only then
joined: so a span is exact whatever happened around it. An order number, date, amount or size is
never misspelled; products and colours are, rarely.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_build.data.grammar import Piece
from model_build.data.types import SlotSpan

_NEIGHBOURS = {
    "a": "sqz", "b": "vgn", "c": "xvd", "d": "sfe", "e": "wrd", "f": "dgr", "g": "fht",
    "h": "gjy", "i": "uok", "j": "hku", "k": "jli", "l": "kop", "m": "nj", "n": "bmh",
    "o": "ipl", "p": "ol", "q": "wa", "r": "etf", "s": "adw", "t": "ryg", "u": "yij",
    "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xas",
}  # fmt: skip
_CHAT_SPELLING = {
    "you": "u", "are": "r", "please": "pls", "thanks": "thx", "your": "ur", "because": "cuz",
    "tomorrow": "tmrw", "what": "wat", "before": "b4", "great": "gr8", "people": "ppl",
    "okay": "ok", "something": "smth", "anyone": "any1", "message": "msg", "about": "abt",
    "want": "wanna", "the": "da", "and": "n", "why": "y", "see": "c", "later": "l8r",
}  # fmt: skip
_MISSPELLABLE_SLOTS = frozenset({"product", "colour"})
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\s+|.")
_QUESTION = re.compile(
    r"(where|how|what|which|when|can|could|is|are|do|does|did|has|have you|will|would|why|who|may"
    r"|should)\b",
    re.IGNORECASE,
)
_NO_SLOT = -1


@dataclass(frozen=True, kw_only=True)
class Typing:
    """How carelessly an utterance is typed; every field is a probability."""

    lower_case: float
    upper_case: float
    no_ending: float
    no_apostrophes: float
    # For each word.
    chat_spelling: float
    typo: float
    # For each space.
    double_space: float
    no_space: float


CAREFUL = Typing(
    lower_case=0.15,
    upper_case=0.0,
    no_ending=0.35,
    no_apostrophes=0.05,
    chat_spelling=0.0,
    typo=0.0,
    double_space=0.0,
    no_space=0.0,
)
QUICK = Typing(
    lower_case=0.6,
    upper_case=0.02,
    no_ending=0.75,
    no_apostrophes=0.4,
    chat_spelling=0.04,
    typo=0.04,
    double_space=0.01,
    no_space=0.004,
)
SLOPPY = Typing(
    lower_case=0.75,
    upper_case=0.06,
    no_ending=0.85,
    no_apostrophes=0.8,
    chat_spelling=0.2,
    typo=0.14,
    double_space=0.03,
    no_space=0.015,
)
_KINDS = (CAREFUL, QUICK, SLOPPY)
_SHARES = (0.42, 0.4, 0.18)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    # Number of the piece whose slot value it belongs to, or _NO_SLOT.
    owner: int
    slot: str

    @property
    def is_space(self) -> bool:
        return self.text.isspace()


def type_out(
    pieces: Sequence[Piece], rng: np.random.Generator, *, asks: bool = True
) -> tuple[str, tuple[SlotSpan, ...]]:
    """The pieces as somebody types them, and where the slots are.

    `asks=False` keeps a question mark away from the end, where something else is said.
    Spans lie in order, do not overlap, are not empty and neither begin nor end with a space.
    """
    typing = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
    tokens = _tokens(pieces)
    if rng.random() >= typing.no_ending:
        tokens.append(_Token(_ending(tokens, rng, asks), _NO_SLOT, ""))
    drop_apostrophes = rng.random() < typing.no_apostrophes
    typed = []
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.is_space:
            beside_slot = any(t is not None and t.owner != _NO_SLOT for t in (before, after))
            typed.append(_typed_space(token, typing, rng, may_vanish=not beside_slot))
        else:
            text = _typed_word(token, typing, rng)
            if drop_apostrophes:
                text = text.replace("'", "").replace("’", "")
            typed.append(replace(token, text=text))
    typed = _in_case(typed, typing, rng)
    return "".join(token.text for token in typed), _spans(typed)


def _tokens(pieces: Sequence[Piece]) -> list[_Token]:
    """Words, spaces and signs; spaces that left-out options leave behind are closed up."""
    tokens: list[_Token] = []
    for number, piece in enumerate(pieces):
        owner = number if piece.slot else _NO_SLOT
        for text in _TOKEN.findall(piece.text):
            after_space = not tokens or tokens[-1].is_space
            if text.isspace() and after_space:
                continue
            if tokens and after_space and text in (",", ".", "?", "!", ":") and not piece.slot:
                tokens.pop()
            tokens.append(_Token(" " if text.isspace() else text, owner, piece.slot))
    if tokens and tokens[-1].is_space:
        tokens.pop()
    return tokens


def _ending(tokens: list[_Token], rng: np.random.Generator, asks: bool) -> str:
    """Punctuation for the end; a question mostly gets its mark."""
    text = "".join(token.text for token in tokens)
    if not text or text[-1] in "?!.)":
        return ""
    if asks and _QUESTION.match(text):
        return "?" if rng.random() < 0.9 else "??"
    return (".", "!", "...")[int(rng.choice(3, p=(0.85, 0.12, 0.03)))]


def _typed_space(
    token: _Token, typing: Typing, rng: np.random.Generator, *, may_vanish: bool
) -> _Token:
    if token.owner != _NO_SLOT:
        return token
    draw = rng.random()
    if draw < typing.double_space:
        return replace(token, text="  ")
    if may_vanish and draw < typing.double_space + typing.no_space:
        return replace(token, text="")
    return token


def _typed_word(token: _Token, typing: Typing, rng: np.random.Generator) -> str:
    text = token.text
    free = token.owner == _NO_SLOT
    if not text.isalpha() or not (free or token.slot in _MISSPELLABLE_SLOTS):
        return text
    if free and text.lower() in _CHAT_SPELLING and rng.random() < typing.chat_spelling:
        return _CHAT_SPELLING[text.lower()]
    # Values of slots are typed with more care: they are what the customer wants.
    probability = typing.typo if free else typing.typo * 0.4
    if len(text) >= 4 and rng.random() < probability:
        return _misspelled(text, rng)
    return text


def _misspelled(word: str, rng: np.random.Generator) -> str:
    """The word with one slip of the finger; its first letter mostly stays."""
    at = int(rng.integers(1, len(word) - 1))
    kind = rng.random()
    if kind < 0.3:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.6:
        return word[:at] + word[at + 1 :]
    if kind < 0.8:
        return word[:at] + word[at] + word[at:]
    near = _NEIGHBOURS.get(word[at].lower(), word[at])
    return word[:at] + near[int(rng.integers(len(near)))] + word[at + 1 :]


def _in_case(tokens: list[_Token], typing: Typing, rng: np.random.Generator) -> list[_Token]:
    """Small letters, capitals, or a capital at the beginning."""
    draw = rng.random()
    if draw < typing.upper_case:
        return [replace(token, text=token.text.upper()) for token in tokens]
    if draw < typing.upper_case + typing.lower_case:
        return [replace(token, text=token.text.lower()) for token in tokens]
    first = tokens[0].text
    return [replace(tokens[0], text=first[:1].upper() + first[1:]), *tokens[1:]]


def _spans(tokens: list[_Token]) -> tuple[SlotSpan, ...]:
    spans: dict[int, SlotSpan] = {}
    at = 0
    for token in tokens:
        if token.owner != _NO_SLOT:
            begun = spans.get(token.owner)
            spans[token.owner] = SlotSpan(
                name=token.slot,
                start_char=begun.start_char if begun else at,
                end_char=at + len(token.text),
            )
        at += len(token.text)
    return tuple(spans.values())

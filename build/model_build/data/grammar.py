"""Templates of utterances: `(a|b)` is a choice, `[a]` may be left out, `{name}` is filled in.

text -> `parse` -> Template -> `expand` with a random generator -> pieces, some of them slots.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from model_build.data.tables import TableError

# An optional part is said so often.
_SAY_OPTIONAL = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of an utterance; `slot` names the slot that it is the value of, or is empty."""

    text: str
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Filler:
    """A name in braces."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options is said; an optional part is a choice with an empty option."""

    options: tuple["Template", ...]
    optional: bool


Template = tuple["str | Filler | Choice", ...]
Fill = Callable[[str, np.random.Generator], list[Piece]]


def parse(text: str) -> Template:
    """The template of `text`.

    Raises:
        TableError: a bracket is not closed, or is closed without being open.
    """
    reader = _Reader(text)
    options = reader.options(closing="")
    if len(options) > 1:
        raise TableError(f"template {text!r}: '|' outside of brackets")
    return options[0]


def expand(template: Template, rng: np.random.Generator, fill: Fill) -> list[Piece]:
    """Says the template once.

    Args:
        template: what to say.
        rng: makes the choices.
        fill: gives the pieces for a name in braces.
    """
    pieces: list[Piece] = []
    for part in template:
        if isinstance(part, str):
            pieces.append(Piece(part))
        elif isinstance(part, Filler):
            pieces.extend(fill(part.name, rng))
        elif not part.optional or rng.random() < _SAY_OPTIONAL:
            pieces.extend(expand(part.options[int(rng.integers(len(part.options)))], rng, fill))
    return pieces


def filler_names(template: Template) -> Iterator[str]:
    """Every name in braces that the template may use."""
    for part in template:
        if isinstance(part, Filler):
            yield part.name
        elif isinstance(part, Choice):
            for option in part.options:
                yield from filler_names(option)


class _Reader:
    """Reads a template from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def options(self, closing: str) -> tuple[Template, ...]:
        """Options up to and including `closing`, or up to the end for ""."""
        options: list[Template] = []
        parts: list[str | Filler | Choice] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == closing:
                return (*options, tuple(parts))
            if character == "|":
                options.append(tuple(parts))
                parts = []
            elif character == "(":
                parts.append(Choice(options=self.options(")"), optional=False))
            elif character == "[":
                parts.append(Choice(options=self.options("]"), optional=True))
            elif character == "{":
                end = self._text.find("}", self._at)
                if end < 0:
                    raise TableError(f"template {self._text!r}: '{{' is not closed")
                parts.append(Filler(self._text[self._at : end]))
                self._at = end + 1
            elif character in ")]}":
                raise TableError(f"template {self._text!r}: {character!r} closes nothing")
            elif parts and isinstance(parts[-1], str):
                parts[-1] += character
            else:
                parts.append(character)
        if closing:
            raise TableError(f"template {self._text!r}: {closing!r} is missing")
        return (*options, tuple(parts))

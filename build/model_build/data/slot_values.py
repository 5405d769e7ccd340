"""Fills the names in braces of templates: slots with values of a shop, and plain fillers."""

from collections.abc import Callable, Sequence

import numpy as np

from model_build.data.grammar import Fill, Piece, Template, expand, filler_names, parse
from model_build.data.product_names import ProductNames
from model_build.data.tables import TableError, read_table
from model_build.data.types import Shop

_FILLERS = "phrases/fillers.toml"
_WORDS = "phrases/words.toml"


class SlotValues:
    """Values from one shop. Values and fillers are drawn at random, evenly."""

    def __init__(self, shop: Shop) -> None:
        words = read_table(_WORDS)
        self._names = ProductNames(shop)
        self._colours = sorted({*words["colours"], *(c for p in shop.products for c in p.colours)})
        self._worn_sizes = sorted(words["sizes"])
        self._sizes = sorted({s for p in shop.products for s in p.sizes} or set(words["sizes"]))
        self._order_numbers = [o.order_number for o in shop.orders if o.order_number.isdigit()]
        self._makers: dict[str, Callable[[np.random.Generator], list[Piece]]] = {
            "order_number": lambda rng: [Piece(self._order_number(rng), "order_number")],
            "colour": lambda rng: [Piece(_one(self._colours, rng), "colour")],
            "size": self._size,
            "worn_size": lambda rng: [Piece(_one(self._worn_sizes, rng), "size")],
            "date": lambda rng: _date(words["near_dates"], rng),
            "past_date": lambda rng: _date(words["near_past"], rng),
            "future_date": lambda rng: _date(words["near_future"], rng),
            # After "by" or "before".
            "deadline": lambda rng: _date(words["near_future"], rng)[-1:],
            "amount": _amount,
            "product": lambda rng: [Piece(self._names.any(rng), "product")],
            "product_one": lambda rng: [Piece(self._names.one(rng), "product")],
            "product_many": lambda rng: [Piece(self._names.many(rng), "product")],
            "a_product": self._a_product,
        }
        self._fillers: dict[str, list[Template]] = {
            name: [parse(text) for text in texts] for name, texts in read_table(_FILLERS).items()
        }
        for name, templates in self._fillers.items():
            for template in templates:
                self.check(template, f"{_FILLERS}: {name}")

    def check(self, template: Template, where: str) -> None:
        """Raises TableError if the template uses a name that nothing fills; `where` names it."""
        for name in filler_names(template):
            if name not in self._makers and name not in self._fillers:
                raise TableError(f"{where}: nothing known as {{{name}}}")

    @property
    def fill(self) -> Fill:
        """Gives the pieces for a name in braces."""
        return self._fill

    def _fill(self, name: str, rng: np.random.Generator) -> list[Piece]:
        if maker := self._makers.get(name):
            return maker(rng)
        templates = self._fillers[name]
        return expand(templates[int(rng.integers(len(templates)))], rng, self._fill)

    def _order_number(self, rng: np.random.Generator) -> str:
        """Half the time an order that the shop has."""
        if self._order_numbers and rng.random() < 0.5:
            return _one(self._order_numbers, rng)
        return str(int(rng.integers(10_000, 100_000)))

    def _size(self, rng: np.random.Generator) -> list[Piece]:
        """Mostly a size that people wear; some of the shop's, such as "160x230 cm"."""
        return [Piece(_one(self._worn_sizes if rng.random() < 0.7 else self._sizes, rng), "size")]

    def _a_product(self, rng: np.random.Generator) -> list[Piece]:
        name = self._names.any(rng)
        return [Piece(self._names.article(name)), Piece(name, "product")]


def _one(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _date(near: Sequence[str], rng: np.random.Generator) -> list[Piece]:
    """A date; a preposition before it stands outside of the slot."""
    words = read_table(_WORDS)
    kind = rng.random()
    if kind < 0.45:
        return [Piece(_one(near, rng), "date")]
    if kind < 0.6:
        weekday = _one(words["weekdays"], rng)
        # A weekday lies in the past unless the near dates look ahead.
        side = "next" if "tomorrow" in near and rng.random() < 0.8 else "last"
        if rng.random() < 0.5:
            return [Piece("on "), Piece(weekday, "date")]
        return [Piece(f"{side} {weekday}", "date")]
    day, month = int(rng.integers(1, 29)), int(rng.integers(12))
    name = words["months"][month]
    ordinal = f"{day}{_ordinal_ending(day)}"
    written = (
        f"{day} {name}",
        f"{name} {day}",
        f"{ordinal} of {name}",
        f"the {ordinal}",
        f"{name} {ordinal}",
        f"{day:02d}/{month + 1:02d}",
        f"{day:02d}.{month + 1:02d}.2026",
        f"2026-{month + 1:02d}-{day:02d}",
        f"{day} {name[:3]}",
    )
    return [Piece("on "), Piece(_one(written, rng), "date")]


def _ordinal_ending(day: int) -> str:
    if day in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _amount(rng: np.random.Generator) -> list[Piece]:
    euros = int(np.exp(rng.normal(3.5, 0.8))) + 1
    cents = int(rng.choice((0, 50, 90, 95, 99)))
    plain = f"{euros}.{cents:02d}" if cents and rng.random() < 0.6 else str(euros)
    written = [
        f"{plain} euros",
        f"{plain} euro",
        f"€{plain}",
        f"{plain} €",
        f"{plain}€",
        f"{plain} EUR",
        f"{plain} eur",
        f"£{plain}",
        f"${plain}",
        f"{_one(read_table(_WORDS)['spelled_amounts'], rng)} euros",
        f"{plain.replace('.', ',')} €",
        f"{euros} bucks",
    ]
    return [Piece(_one(written, rng), "amount")]

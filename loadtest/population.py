"""Who calls and what about: customers, products, orders and texts out of the shop's files.

A few customers and products make most of the traffic: the popularity of the thing at rank r is
proportional to 1 / r**s (Zipf's law; s near 1 was found for requests of web pages by L. Breslau et
al., "Web Caching and Zipf-like Distributions", 1999).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CUSTOMER_EXPONENT = 0.8
PRODUCT_EXPONENT = 1.0
# Visitors who have not signed in.
ANONYMOUS_SHARE = 0.3


@dataclass(frozen=True, kw_only=True)
class ShopContent:
    """What load is made of. `texts` are customers' utterances, `questions` knowledge questions."""

    customers: tuple[str, ...]
    products: tuple[str, ...]
    # Order number and the customer's id.
    orders: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]
    questions: tuple[str, ...]


class ShopUnreadable(ValueError):
    """The shop's files do not hold what load is made of; names the file."""


def read_shop(folder: Path) -> ShopContent:
    """Reads the shop that `cartwright models build` wrote.

    Utterances are the held-out ones where there are any (no model was trained on them), and the
    articles' titles, which are questions.

    Raises:
        ShopUnreadable: a file is missing, is no JSON, or lacks a field.
    """
    questions = tuple(str(row["title"]) for row in _rows(folder / "articles.jsonl", "title"))
    held_out: tuple[str, ...] = ()
    if (folder / "held_out.jsonl").exists():
        rows = _rows(folder / "held_out.jsonl", "kind")
        held_out = tuple(str(row["text"]) for row in rows if row["kind"] == "utterance")
    return ShopContent(
        customers=_column(folder / "customers.jsonl", "customer_id"),
        products=_column(folder / "products.jsonl", "product_id"),
        orders=tuple(
            (str(row["order_number"]), str(row["customer_id"]))
            for row in _rows(folder / "orders.jsonl", "order_number", "customer_id")
        ),
        texts=held_out or questions,
        questions=questions,
    )


class Population:
    """Draws customers, products and texts."""

    def __init__(self, content: ShopContent, generator: np.random.Generator) -> None:
        """Draws who and what is popular.

        Args:
            content: what to draw from; nothing of it may be empty.
            generator: makes all draws. Processes of one run use the same popularity only if the
                same ranking is drawn, so it comes from a generator of its own.

        Raises:
            ValueError: a part of the content is empty.
        """
        for name in ("customers", "products", "orders", "texts", "questions"):
            if not getattr(content, name):
                raise ValueError(f"the shop has no {name}")
        self._content = content
        self._generator = generator
        ranking = np.random.default_rng(0)
        self._customers = _Zipf(len(content.customers), CUSTOMER_EXPONENT, ranking)
        self._products = _Zipf(len(content.products), PRODUCT_EXPONENT, ranking)

    def customer(self) -> str:
        """A customer's id; "" for somebody who has not signed in."""
        if self._generator.random() < ANONYMOUS_SHARE:
            return ""
        return self._content.customers[self._customers.draw(self._generator)]

    def product(self) -> str:
        """A product's id."""
        return self._content.products[self._products.draw(self._generator)]

    def order(self) -> tuple[str, str]:
        """An order's number and its customer's id."""
        return self._content.orders[self._index(len(self._content.orders))]

    def text(self) -> str:
        """Something a customer says."""
        return self._content.texts[self._index(len(self._content.texts))]

    def question(self) -> str:
        """Something the knowledge base should know."""
        return self._content.questions[self._index(len(self._content.questions))]

    def token(self) -> str:
        """A new id, for a session or an event: 32 hex digits."""
        return self._generator.bytes(16).hex()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self._generator.random() < probability)

    def whole(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        return int(self._generator.integers(least, most + 1))

    def pause_s(self, median_s: float) -> float:
        """A think time: log-normal around `median_s` seconds, at most ten times it."""
        return float(min(median_s * np.exp(self._generator.normal(0.0, 0.6)), 10.0 * median_s))

    def choice(self, weights: np.ndarray[Any, np.dtype[np.float64]]) -> int:
        """An index, by weights that add up to 1."""
        return int(self._generator.choice(len(weights), p=weights))

    def _index(self, length: int) -> int:
        return int(self._generator.integers(length))


class _Zipf:
    """Draws indexes 0 to n - 1, each with the popularity of its rank in a shuffled order."""

    def __init__(self, n: int, exponent: float, ranking: np.random.Generator) -> None:
        weights = 1.0 / np.arange(1, n + 1) ** exponent
        self._cumulative = np.cumsum(weights / weights.sum())
        self._by_rank = ranking.permutation(n)

    def draw(self, generator: np.random.Generator) -> int:
        rank = int(np.searchsorted(self._cumulative, generator.random(), side="right"))
        # The sum of many floats may end a hair below 1.
        return int(self._by_rank[min(rank, len(self._by_rank) - 1)])


def _rows(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                for name in fields:
                    if name not in row:
                        raise ShopUnreadable(f"{path}: line {number} has no {name!r}")
                yield row
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ShopUnreadable(f"{path}: cannot be read: {error}") from error


def _column(path: Path, name: str) -> tuple[str, ...]:
    return tuple(str(row[name]) for row in _rows(path, name))

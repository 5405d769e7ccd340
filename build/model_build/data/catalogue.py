"""Catalogue of the synthetic shop: `catalogue.toml` (leaf categories) -> products."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from model_build.data.tables import TableError, read_table
from serving.types import Product

FILE = "catalogue.toml"
# Products of a leaf: at least so many, and up to so many more.
_LEAST_PER_LEAF = 27
_SPREAD_PER_LEAF = 12
_SMALL_WORDS = frozenset({"of", "with", "and", "for"})


@dataclass(frozen=True, kw_only=True)
class Brand:
    """A brand and its price tier: 0 budget, 1 middle, 2 premium."""

    name: str
    tier: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Things of one kind: every noun goes with every trait and variant. Prices in whole euros."""

    nouns: tuple[str, ...]
    traits: tuple[str, ...]
    variants: tuple[str, ...]
    colours: tuple[str, ...]
    sizes: tuple[str, ...]
    lowest_price: float
    highest_price: float


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A leaf category with what its products are made from."""

    path: str
    kinds: tuple[Kind, ...]
    brands: tuple[Brand, ...]
    # Leaves that are often bought next.
    next_paths: tuple[str, ...]


@cache
def read_leaves() -> tuple[Leaf, ...]:
    """All leaf categories in the order of the file.

    Raises:
        TableError: an entry lacks a field, or `next`, `colours` or `sizes` names nothing known.
    """
    table = read_table(FILE)
    leaves = []
    for entry in table["leaf"]:
        path = entry.get("path", "(no path)")
        try:
            leaves.append(_leaf(entry, table))
        except KeyError as error:
            raise TableError(f"{FILE}: leaf {path}: nothing known as {error}") from error
    known = {leaf.path for leaf in leaves}
    for leaf in leaves:
        if unknown := set(leaf.next_paths) - known:
            raise TableError(f"{FILE}: leaf {leaf.path}: next: no such leaf: {sorted(unknown)}")
    return tuple(leaves)


def _leaf(entry: dict[str, Any], table: dict[str, Any]) -> Leaf:
    return Leaf(
        path=entry["path"],
        kinds=tuple(
            Kind(
                nouns=tuple(kind["nouns"]),
                traits=tuple(kind["traits"]),
                variants=tuple(kind["variants"]),
                # A kind's own colours, sizes and prices go before those of the leaf.
                colours=tuple(table["colours"][kind.get("colours", entry["colours"])]),
                sizes=tuple(table["sizes"][kind.get("sizes", entry["sizes"])]),
                lowest_price=float(kind.get("price", entry["price"])[0]),
                highest_price=float(kind.get("price", entry["price"])[1]),
            )
            for kind in entry.get("kinds", [entry])
        ),
        brands=tuple(
            Brand(name=name, tier=tier)
            for name, tier in table["brands"][entry["path"].split("/")[0]]
        ),
        next_paths=tuple(entry["next"]),
    )


def make_products(rng: np.random.Generator) -> tuple[Product, ...]:
    """Products of every leaf, in id order; titles are unique."""
    products: list[Product] = []
    for leaf in read_leaves():
        wanted = _LEAST_PER_LEAF + int(rng.integers(_SPREAD_PER_LEAF + 1))
        # A kind has as many products as it has nouns, on average.
        kinds = [kind for kind in leaf.kinds for _ in kind.nouns]
        made: set[tuple[str, str, str]] = set()
        while len(made) < wanted:
            kind = kinds[int(rng.integers(len(kinds)))]
            brand = leaf.brands[int(rng.integers(len(leaf.brands)))]
            trait, noun, variant = (
                values[int(rng.integers(len(values)))]
                for values in (kind.traits, kind.nouns, kind.variants)
            )
            if (brand.name, trait, noun) in made:
                continue
            made.add((brand.name, trait, noun))
            title = f"{brand.name} {_title_case(trait)} {_title_case(noun)}"
            products.append(
                Product(
                    product_id=f"p{len(products) + 1:05d}",
                    title=f"{title}, {variant}" if variant else title,
                    category=leaf.path,
                    price_cents=_price_cents(kind, brand, rng),
                    brand=brand.name,
                    colours=_some(kind.colours, rng, most=4),
                    sizes=_size_run(kind.sizes, rng),
                )
            )
    return tuple(products)


def _title_case(words: str) -> str:
    """Capitals as in a product title; "of", "USB-C" and "t-shirt" keep sensible forms."""
    return " ".join(
        word if word in _SMALL_WORDS or word[0].isupper() else word[0].upper() + word[1:]
        for word in words.split()
    )


def _price_cents(kind: Kind, brand: Brand, rng: np.random.Generator) -> int:
    """A price in cents within the kind's range, by the brand's tier, with a usual ending."""
    low, high = math.log(kind.lowest_price), math.log(kind.highest_price)
    # A tier covers a third of the range on a log scale, and overlaps its neighbours.
    position = np.clip((brand.tier + rng.normal(0.5, 0.35)) / 3.0, 0.0, 1.0)
    euros = math.floor(math.exp(low + (high - low) * float(position)))
    ending = (99, 95, 90, 50)[int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1)))]
    return max(euros, 1) * 100 + ending


def _some(values: tuple[str, ...], rng: np.random.Generator, most: int) -> tuple[str, ...]:
    """One to `most` of the values, in their own order."""
    if not values:
        return ()
    count = int(rng.integers(1, min(most, len(values)) + 1))
    chosen = sorted(rng.choice(len(values), size=count, replace=False).tolist())
    return tuple(values[i] for i in chosen)


def _size_run(sizes: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """An unbroken run of sizes, at least half of them."""
    if not sizes:
        return ()
    count = int(rng.integers((len(sizes) + 1) // 2, len(sizes) + 1))
    start = int(rng.integers(len(sizes) - count + 1))
    return sizes[start : start + count]

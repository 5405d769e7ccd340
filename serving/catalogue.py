"""The catalogue in memory: what recommending looks up for every request.

A snapshot is immutable; `Catalogue` replaces it when it has grown old, so that popularity follows
what is bought.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from serving.concurrently import task_group
from serving.errors import StoreUnavailable
from serving.features import CatalogueArrays
from serving.stores.protocols import ShopStore
from serving.types import Product
from serving.words import content_words

# Popularity is a slow figure: a minute-old one recommends as well as a fresh one.
MAX_AGE_S = 60.0

_log = logging.getLogger(__name__)


def in_category(product: Product, category: str) -> bool:
    """Whether the product lies in the category or below it; "" is the whole shop."""
    return not category or f"{product.category}/".startswith(f"{category}/")


@dataclass(frozen=True, kw_only=True)
class RankerVocabulary:
    """Product ids and categories as one version of the ranker numbers them: entry i is i + 1."""

    products: Sequence[str]
    categories: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CatalogueSnapshot:
    """The catalogue at one moment."""

    products: Mapping[str, Product]
    # By the ranker's version.
    arrays: Mapping[int, CatalogueArrays]
    # Purchases by product id; products that nobody bought may be missing.
    popularity: Mapping[str, int]
    # Best-selling first, equal ones in order of their ids.
    by_popularity: tuple[Product, ...]
    # Ids of the products by each content word of their title, category, brand and variants.
    ids_by_word: Mapping[str, frozenset[str]]

    @classmethod
    def build(
        cls,
        products: Sequence[Product],
        popularity: Mapping[str, int],
        vocabularies: Mapping[int, RankerVocabulary],
    ) -> Self:
        """Indexes a catalogue; the vocabularies are by the ranker's version."""
        ids_by_word: dict[str, set[str]] = {}
        for product in products:
            described = (product.title, product.category, product.brand)
            for word in content_words(" ".join((*described, *product.colours, *product.sizes))):
                ids_by_word.setdefault(word, set()).add(product.product_id)
        return cls(
            products={product.product_id: product for product in products},
            arrays={
                version: CatalogueArrays.build(
                    products, dict(popularity), vocabulary.products, vocabulary.categories
                )
                for version, vocabulary in vocabularies.items()
            },
            popularity=popularity,
            by_popularity=tuple(
                sorted(products, key=lambda p: (-popularity.get(p.product_id, 0), p.product_id))
            ),
            ids_by_word={word: frozenset(ids) for word, ids in ids_by_word.items()},
        )

    def popular(self, category: str = "") -> Iterator[Product]:
        """Products of a category and below it ("" for all), best-selling first."""
        return (product for product in self.by_popularity if in_category(product, category))

    def has_category(self, category: str) -> bool:
        """Whether any product lies in the category or below it."""
        return next(self.popular(category), None) is not None

    def matching(self, wanted: str, details: Iterable[str] = ()) -> frozenset[str]:
        """Ids of the products that a customer's words mean.

        Every product counts that has the most words of `wanted` in common, and among those the
        ones that have the most of `details` ("blue", "XL"); none if no word of `wanted` is known.
        """
        found = self._most_common(content_words(wanted), None)
        return self._most_common(content_words(" ".join(details)), found)

    def _most_common(self, words: frozenset[str], among: frozenset[str] | None) -> frozenset[str]:
        counts: dict[str, int] = {}
        for word in words:
            for product_id in self.ids_by_word.get(word, frozenset()):
                if among is None or product_id in among:
                    counts[product_id] = counts.get(product_id, 0) + 1
        if not counts:
            return among or frozenset()
        most = max(counts.values())
        return frozenset(product_id for product_id, count in counts.items() if count == most)


class Catalogue:
    """Holds the current snapshot of one process."""

    def __init__(self, shop: ShopStore, max_age_s: float = MAX_AGE_S) -> None:
        self._shop = shop
        self._vocabularies: dict[int, RankerVocabulary] = {}
        self._max_age_s = max_age_s
        self._snapshot: CatalogueSnapshot | None = None
        self._read_at_s = 0.0
        self._reading: asyncio.Task[CatalogueSnapshot] | None = None

    def put_vocabulary(self, version: int, vocabulary: RankerVocabulary) -> None:
        """Numbers the catalogue for one more version of the ranker, from the next reading on."""
        self._vocabularies[version] = vocabulary

    def drop_vocabulary(self, version: int) -> None:
        """Forgets a version of the ranker from the next reading on."""
        self._vocabularies.pop(version, None)

    async def arrays(self, version: int) -> CatalogueArrays:
        """The current catalogue as a version of the ranker numbers it.

        Raises:
            StoreUnavailable: the catalogue has to be read for it, and cannot be.
            KeyError: the version has no vocabulary here.
        """
        snapshot = await self.current()
        while version not in snapshot.arrays:
            if version not in self._vocabularies:
                raise KeyError(version)
            # One that is being read may have begun before the version was known.
            snapshot = await asyncio.shield(self._read_once())
        return snapshot.arrays[version]

    async def current(self) -> CatalogueSnapshot:
        """The snapshot. Only the first call waits for the store; later ones are renewed behind it.

        Raises:
            StoreUnavailable: the catalogue was never read, and cannot be read now.
        """
        if self._snapshot is None:
            return await asyncio.shield(self._read_once())
        if time.monotonic() - self._read_at_s > self._max_age_s:
            self._read_once()
        return self._snapshot

    def _read_once(self) -> asyncio.Task[CatalogueSnapshot]:
        """The read under way; begins one if there is none."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._finished)
        return self._reading

    async def _read(self) -> CatalogueSnapshot:
        async with task_group() as group:
            products = group.create_task(self._shop.products())
            popularity = group.create_task(self._shop.popularity())
        # In a thread: indexing some thousand products would hold up every request in flight.
        return await asyncio.to_thread(
            CatalogueSnapshot.build,
            products.result(),
            popularity.result(),
            dict(self._vocabularies),
        )

    def _finished(self, reading: asyncio.Task[CatalogueSnapshot]) -> None:
        self._reading = None
        # Also after a failure: the old snapshot serves until the next try is due.
        self._read_at_s = time.monotonic()
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            self._snapshot = reading.result()
        elif self._snapshot is not None:
            level = logging.WARNING if isinstance(error, StoreUnavailable) else logging.ERROR
            _log.log(level, "catalogue is not renewed", exc_info=error)

"""Reads a shop's folder: every file is checked against the digest that `shop.json` records.

So a reader has one shop or an error, never half of one or two mixed, even while a writer replaces
the folder.
"""

import gzip
import hashlib
import io
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.errors import StartupError
from serving.stores import shop_format
from serving.stores.shop_format import (
    ARTICLES_FILE,
    CUSTOMERS_FILE,
    IMPORTED_FILES,
    INTERACTIONS_FILE,
    MANIFEST_FILE,
    ORDERS_FILE,
    PRODUCTS_FILE,
    VECTORS_FILE,
    ImportedInteraction,
    ShopManifest,
)
from serving.types import Article, Order, Product

T = TypeVar("T")

# A writer that replaces the folder while it is read costs the reader another attempt.
_ATTEMPTS = 5
_PAUSE_S = 0.01


@dataclass(frozen=True, kw_only=True)
class ShopContents:
    """A shop as read from its folder."""

    manifest: ShopManifest
    products: tuple[Product, ...]
    articles: tuple[Article, ...]
    # float32 [n, d], row i belongs to `articles[i]`.
    article_vectors: NDArray[np.float32]
    customer_ids: tuple[str, ...]
    interactions: tuple[ImportedInteraction, ...]
    orders: tuple[Order, ...]


def read_manifest(folder: Path) -> ShopManifest:
    """What `shop.json` says.

    Raises:
        StartupError: missing or unusable; names the path and what to do.
    """
    return _persist(lambda: _read_manifest(folder))


def read_shop(folder: Path) -> ShopContents:
    """Reads a shop, every imported file checked against its digest.

    Raises:
        StartupError: missing or corrupt; names the path, the reason and what to do.
    """
    return _persist(lambda: _read_contents(folder, _read_manifest(folder)))


def _persist(read: Callable[[], T]) -> T:
    """Reads again what could not be read: the folder may just have been replaced."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except StartupError:
            time.sleep(_PAUSE_S)
    return read()


def _read_manifest(folder: Path) -> ShopManifest:
    path = folder / MANIFEST_FILE
    try:
        return ShopManifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error


def _read_contents(folder: Path, manifest: ShopManifest) -> ShopContents:
    raw = {file: _read_checked(folder / file, manifest.files[file]) for file in IMPORTED_FILES}
    contents = ShopContents(
        manifest=manifest,
        products=_parse(folder / PRODUCTS_FILE, raw[PRODUCTS_FILE], shop_format.product_from),
        articles=_parse(folder / ARTICLES_FILE, raw[ARTICLES_FILE], shop_format.article_from),
        article_vectors=_parse_vectors(folder / VECTORS_FILE, raw[VECTORS_FILE]),
        customer_ids=_parse(
            folder / CUSTOMERS_FILE, raw[CUSTOMERS_FILE], shop_format.customer_from
        ),
        interactions=_parse(
            folder / INTERACTIONS_FILE,
            _decompress(folder / INTERACTIONS_FILE, raw[INTERACTIONS_FILE]),
            shop_format.interaction_from,
        ),
        orders=_parse(folder / ORDERS_FILE, raw[ORDERS_FILE], shop_format.order_from),
    )
    if len(contents.article_vectors) != len(contents.articles):
        raise _unusable(
            folder / VECTORS_FILE,
            ValueError(
                f"has {len(contents.article_vectors)} rows for {len(contents.articles)} articles"
            ),
        )
    return contents


def _read_checked(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _unusable(path, ValueError(f"does not match its digest in {MANIFEST_FILE}"))
    return content


def _decompress(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _unusable(path, error) from error


def _parse(path: Path, content: bytes, convert: Callable[[dict[str, Any]], T]) -> tuple[T, ...]:
    objects: list[T] = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            objects.append(convert(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise _unusable(path, ValueError(f"line {number}: {error}")) from error
    return tuple(objects)


def _parse_vectors(path: Path, content: bytes) -> NDArray[np.float32]:
    try:
        vectors = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _unusable(path, error) from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise _unusable(
            path, ValueError(f"must be float32 [n, d], is {vectors.dtype} {vectors.shape}")
        )
    return np.asarray(vectors, np.float32)


def _unusable(path: Path, error: Exception) -> StartupError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StartupError(f"shop: {path}: {reason}; run `cartwright models build`")

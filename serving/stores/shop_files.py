"""A shop as a folder of files: written by the model build, imported when serving starts."""

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    Interaction,
    ShopManifest,
)
from serving.stores.shop_reading import read_manifest, read_shop
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_import import ShopImport, import_contents, imported_digest
from serving.types import Article, Order, Product

# Another replica's import of the same shop is waited for so long.
_IMPORT_TIMEOUT_MS = 120_000.0


def write_shop(
    folder: Path,
    *,
    name: str,
    products: Sequence[Product],
    articles: Sequence[Article],
    customer_ids: Sequence[str],
    interactions: Iterable[Interaction],
    orders: Sequence[Order],
    article_vectors: NDArray[np.float32],
    encoder: str,
    extra_files: Mapping[str, str] | None = None,
) -> ShopManifest:
    """Writes a shop and puts it in place of what is at `folder`, whole or not at all.

    The same arguments give the same bytes and the same digest.

    Args:
        folder: where the shop shall lie; its parents are made.
        name: name of the shop; also that of the database file that it is imported into.
        products: the catalogue, ids unique.
        articles: the knowledge base, ids unique.
        customer_ids: every customer that the shop knows.
        interactions: histories, oldest first; read once.
        orders: orders, numbers unique.
        article_vectors: float32 [len(articles), d], row i is the vector of `articles[i]`.
        encoder: model and version of the vectors, e.g. "encoder/3".
        extra_files: further text files by name (e.g. held-out utterances for the demo); they are
            checked like the others but are not imported and do not change the shop's digest.

    Raises:
        ValueError: an argument is unusable; names it and the reason.
        OSError: the files cannot be written, or another writer put its shop there meanwhile; what
            was there before is untouched.
    """
    extra_files = extra_files or {}
    _check(name, products, articles, orders, article_vectors, extra_files)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-new-", dir=folder.parent))
    try:
        vectors = io.BytesIO()
        np.save(vectors, np.ascontiguousarray(article_vectors, dtype=np.float32))
        interaction_text = _text(shop_format.interaction_lines(interactions))
        contents = {
            PRODUCTS_FILE: _text(shop_format.product_lines(products)),
            ARTICLES_FILE: _text(shop_format.article_lines(articles)),
            VECTORS_FILE: vectors.getvalue(),
            CUSTOMERS_FILE: _text(shop_format.customer_lines(customer_ids)),
            # Without a time in its header gzip gives the same bytes for the same text.
            INTERACTIONS_FILE: gzip.compress(interaction_text, compresslevel=6, mtime=0),
            ORDERS_FILE: _text(shop_format.order_lines(orders)),
            **{file: text.encode() for file, text in extra_files.items()},
        }
        files = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        manifest = ShopManifest(
            name=name,
            digest=shop_format.shop_digest(name, encoder, files),
            encoder=encoder,
            files=files,
        )
        contents[MANIFEST_FILE] = manifest.to_json().encode()
        for file, content in contents.items():
            _write_durably(draft / file, content)
        draft.chmod(0o755)
        _replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def shop_name(folder: Path) -> str:
    """The shop's name, which is also that of its database file.

    Raises:
        StartupError: the shop is missing or unusable; names the path and what to do.
    """
    return read_manifest(folder).name


def import_shop(database: Database, folder: Path) -> ShopImport:
    """Brings the shop at `folder` into its database, unless its digest is there already.

    Blocks for the time of the import (some seconds for 150,000 interactions). Several processes may
    call it at once: one imports, the others wait for it and then find the digest there.
    `sqlite_import` says what happens to what users changed.

    Raises:
        StartupError: the shop is missing or corrupt; names the path and what to do.
        StoreUnavailable: the database cannot be written; nothing was imported.
    """
    started = time.perf_counter()
    manifest = read_manifest(folder)
    if database.read_blocking(imported_digest) == manifest.digest:
        return ShopImport(name=manifest.name, digest=manifest.digest, imported=False)
    shop = read_shop(folder)
    result = database.write_blocking(
        lambda connection: import_contents(connection, shop), _IMPORT_TIMEOUT_MS
    )
    return replace(result, duration_ms=(time.perf_counter() - started) * 1000.0)


def _check(
    name: str,
    products: Sequence[Product],
    articles: Sequence[Article],
    orders: Sequence[Order],
    article_vectors: NDArray[np.float32],
    extra_files: Mapping[str, str],
) -> None:
    shop_format.check_name(name)
    for what, ids in (
        ("products", [product.product_id for product in products]),
        ("articles", [article.article_id for article in articles]),
        ("orders", [order.order_number for order in orders]),
    ):
        if len(set(ids)) != len(ids):
            raise ValueError(f"{what}: ids must be unique")
    if article_vectors.ndim != 2 or len(article_vectors) != len(articles):
        raise ValueError(
            f"article_vectors: must be [{len(articles)}, d], is {list(article_vectors.shape)}"
        )
    if not np.isfinite(article_vectors).all():
        raise ValueError("article_vectors: must be finite")
    for file in extra_files:
        if file != Path(file).name or file in (*IMPORTED_FILES, MANIFEST_FILE):
            raise ValueError(f"extra_files: {file!r} is not a free plain file name")


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(draft: Path, folder: Path) -> None:
    """Puts `draft` at `folder`; what was there is moved aside first and then removed."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        try:
            draft.rename(folder)
        except OSError:
            # Back with the old one, unless another writer put its own shop there meanwhile.
            with contextlib.suppress(OSError):
                aside.rename(folder)
            raise
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Makes the renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Brings a shop's files into its database, in one transaction.

What a shop brings and what the stack has learnt since live side by side:

- products, orders: replaced as a whole, they belong to the shop;
- histories: what an earlier import brought is replaced; events that were recorded stay;
- customers: those of the shop and those of recorded events; popularity is counted anew;
- articles: the shop's text replaces what is there only if the shop itself changed that article
  since its last import. So an article that users changed stays theirs and one that they deleted
  stays deleted until the shop has something new to say. An article that the shop gave up goes,
  unless users changed it;
- vectors: every article whose text is the shop's gets the shop's vector.
"""

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass

from serving.stores.shop_reading import ShopContents
from serving.stores.sqlite_articles import (
    delete_articles,
    mark_changed,
    put_articles,
    put_vectors,
)
from serving.stores.sqlite_history import count_new_events
from serving.types import Article


@dataclass(frozen=True, kw_only=True)
class ShopImport:
    """What an import did. All counts are 0 when the shop was there already."""

    name: str
    digest: str
    # False: the database had this digest already.
    imported: bool
    products: int = 0
    customers: int = 0
    orders: int = 0
    interactions: int = 0
    articles_added: int = 0
    articles_updated: int = 0
    # Left as users made them.
    articles_kept: int = 0
    articles_removed: int = 0
    duration_ms: float = 0.0


def imported_digest(connection: sqlite3.Connection) -> str | None:
    """Digest of the shop that was imported last."""
    rows = connection.execute("SELECT digest FROM imported_shop").fetchall()
    return str(rows[0][0]) if rows else None


def import_contents(connection: sqlite3.Connection, shop: ShopContents) -> ShopImport:
    """Imports a shop inside the caller's transaction, unless it is there already."""
    manifest = shop.manifest
    if imported_digest(connection) == manifest.digest:
        return ShopImport(name=manifest.name, digest=manifest.digest, imported=False)
    _replace_catalogue(connection, shop)
    _replace_histories(connection, shop)
    added, updated, kept, removed = _merge_articles(connection, shop)
    connection.execute(
        "INSERT INTO imported_shop (only, name, digest, imported_at_ms) VALUES (1, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET name = excluded.name, digest = excluded.digest,"
        "  imported_at_ms = excluded.imported_at_ms",
        (manifest.name, manifest.digest, time.time_ns() // 1_000_000),
    )
    return ShopImport(
        name=manifest.name,
        digest=manifest.digest,
        imported=True,
        products=len(shop.products),
        customers=len(shop.customer_ids),
        orders=len(shop.orders),
        interactions=len(shop.interactions),
        articles_added=added,
        articles_updated=updated,
        articles_kept=kept,
        articles_removed=removed,
    )


def _replace_catalogue(connection: sqlite3.Connection, shop: ShopContents) -> None:
    connection.execute("DELETE FROM products")
    connection.executemany(
        "INSERT INTO products (product_id, title, category, price_cents, currency, brand, colours,"
        " sizes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                product.product_id,
                product.title,
                product.category,
                product.price_cents,
                product.currency,
                product.brand,
                json.dumps(product.colours),
                json.dumps(product.sizes),
            )
            for product in shop.products
        ),
    )
    connection.execute("DELETE FROM orders")
    connection.executemany(
        "INSERT INTO orders (order_number, customer_id, status, placed_on, expected_on,"
        " product_ids, total_cents, currency) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                order.order_number,
                order.customer_id,
                order.status,
                order.placed_on,
                order.expected_on,
                json.dumps(order.product_ids),
                order.total_cents,
                order.currency,
            )
            for order in shop.orders
        ),
    )


def _replace_histories(connection: sqlite3.Connection, shop: ShopContents) -> None:
    connection.execute("DELETE FROM events WHERE event_id IS NULL")
    connection.executemany(
        "INSERT INTO events (customer_id, kind, product_id, occurred_at_ms) VALUES (?, ?, ?, ?)",
        (
            (
                interaction.customer_id,
                interaction.kind,
                interaction.product_id,
                interaction.occurred_at_ms,
            )
            for interaction in shop.interactions
        ),
    )
    connection.execute("DELETE FROM customers")
    connection.executemany(
        "INSERT INTO customers (customer_id) VALUES (?) ON CONFLICT DO NOTHING",
        ((customer_id,) for customer_id in shop.customer_ids),
    )
    connection.execute("DELETE FROM popularity")
    count_new_events(connection, 0)


def _merge_articles(
    connection: sqlite3.Connection, shop: ShopContents
) -> tuple[int, int, int, int]:
    """Returns how many articles were added, updated, kept as users made them, and removed."""
    brought = dict(connection.execute("SELECT article_id, digest FROM shop_articles").fetchall())
    present = {
        article_id: _digest(title, body, topic)
        for article_id, title, body, topic in connection.execute(
            "SELECT article_id, title, body, topic FROM articles"
        ).fetchall()
    }
    offered = {a.article_id: _digest(a.title, a.body, a.topic) for a in shop.articles}
    changed: list[Article] = [
        article
        for article in shop.articles
        if brought.get(article.article_id) != offered[article.article_id]
        and present.get(article.article_id) != offered[article.article_id]
    ]
    removed = [
        article_id
        for article_id, digest in brought.items()
        if article_id not in offered and present.get(article_id) == digest
    ]
    changed_at_ms = mark_changed(connection)
    delete_articles(connection, removed)
    put_articles(connection, changed, changed_at_ms)
    stored = dict(connection.execute("SELECT article_id, updated_at_ms FROM articles").fetchall())
    replaced = {article.article_id for article in changed}
    put_vectors(
        connection,
        [
            (article.article_id, stored[article.article_id], vector)
            for article, vector in zip(shop.articles, shop.article_vectors, strict=True)
            if article.article_id in replaced
            or present.get(article.article_id) == offered[article.article_id]
        ],
        shop.manifest.encoder,
    )
    connection.execute("DELETE FROM shop_articles")
    connection.executemany(
        "INSERT INTO shop_articles (article_id, digest) VALUES (?, ?)", offered.items()
    )
    added = len(replaced - present.keys())
    kept = sum(1 for i, digest in offered.items() if i not in replaced and present.get(i) != digest)
    return added, len(replaced) - added, kept, len(removed)


def _digest(title: str, body: str, topic: str) -> str:
    return hashlib.sha256(json.dumps([title, body, topic]).encode()).hexdigest()

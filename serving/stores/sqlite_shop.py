"""Catalogue and orders in SQLite; written by the import alone."""

import json
import sqlite3

from serving.stores.sqlite_database import Database
from serving.types import Order, Product


class SqliteShop:
    """Implements `serving.stores.protocols.ShopStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def products(self) -> list[Product]:
        """See `ShopStore.products`."""

        def work(connection: sqlite3.Connection) -> list[Product]:
            return [
                Product(
                    product_id=product_id,
                    title=title,
                    category=category,
                    price_cents=price_cents,
                    currency=currency,
                    brand=brand,
                    colours=tuple(json.loads(colours)),
                    sizes=tuple(json.loads(sizes)),
                )
                for (
                    product_id,
                    title,
                    category,
                    price_cents,
                    currency,
                    brand,
                    colours,
                    sizes,
                ) in connection.execute(
                    "SELECT product_id, title, category, price_cents, currency, brand, colours,"
                    " sizes FROM products ORDER BY product_id"
                ).fetchall()
            ]

        return await self._database.read_long(work)

    async def popularity(self) -> dict[str, int]:
        """See `ShopStore.popularity`."""

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(
                connection.execute("SELECT product_id, purchases FROM popularity").fetchall()
            )

        return await self._database.read_long(work)

    async def order(self, order_number: str) -> Order | None:
        """See `ShopStore.order`."""

        def work(connection: sqlite3.Connection) -> list[tuple[str, str, str, str, str, int, str]]:
            return connection.execute(
                "SELECT customer_id, status, placed_on, expected_on, product_ids, total_cents, "
                "currency FROM orders WHERE order_number = ?",
                (order_number,),
            ).fetchall()

        for (
            customer_id,
            status,
            placed_on,
            expected_on,
            product_ids,
            total_cents,
            currency,
        ) in await self._database.read(work):
            return Order(
                order_number=order_number,
                customer_id=customer_id,
                status=status,
                placed_on=placed_on,
                expected_on=expected_on,
                product_ids=tuple(json.loads(product_ids)),
                total_cents=total_cents,
                currency=currency,
            )
        return None

"""A shop as files: written whole, read whole, imported once and beside what users changed."""

import asyncio
import json
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import StartupError
from serving.settings import StoreSettings
from serving.stores.shop_files import import_shop, shop_name, write_shop
from serving.stores.shop_format import IMPORTED_FILES, INTERACTIONS_FILE, ShopManifest
from serving.stores.shop_reading import read_shop
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_stores import SqliteStores, open_stores
from serving.types import Article, Event, EventKind, Order, Product


@dataclass(frozen=True, kw_only=True)
class Bought:
    customer_id: str
    product_id: str
    kind: str = "purchase"
    occurred_at_ms: int = 1_000
    basket_id: str = "b"


PRODUCTS = (
    Product(product_id="mug", title="Red mug\u2028\n", category="home/mugs", price_cents=990),
    Product(
        product_id="shoe",
        title='Shoe "Läufer"',
        category="sports",
        price_cents=8_900,
        brand="Ventro",
        colours=("red", "blue"),
        sizes=("41", "42"),
    ),
)
ARTICLES = (
    Article(article_id="returns", title="Returns", body="Within 30 days.", topic="order"),
    Article(article_id="delivery", title="Delivery", body="Two days."),
    Article(article_id="gift", title="Gift wrapping", body="Two euros."),
)
ORDERS = (
    Order(
        order_number="12345",
        customer_id="ann",
        status="shipped",
        placed_on="2026-11-20",
        expected_on="2026-11-24",
        product_ids=("mug", "shoe"),
        total_cents=9_890,
    ),
)


def write(folder: Path, **changes: Any) -> ShopManifest:
    pieces: dict[str, Any] = {
        "name": "toys",
        "products": PRODUCTS,
        "articles": ARTICLES,
        "customer_ids": ["ann", "bob"],
        "interactions": [Bought(customer_id="ann", product_id="mug") for _ in range(3)],
        "orders": ORDERS,
        "encoder": "encoder/1",
    } | changes
    pieces.setdefault("article_vectors", vectors(len(pieces["articles"])))
    return write_shop(folder, **pieces)


def vectors(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    matrix = np.random.default_rng(seed).normal(size=(count, 384)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "shop"
    write(folder)
    return folder


def stores_of(tmp_path: Path) -> SqliteStores:
    return open_stores(StoreSettings(folder=tmp_path / "state", shop=tmp_path / "shop"))


# ---- writing and reading ------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path / "shop", extra_files={"held_out.jsonl": "{}\n"})
    shop = read_shop(tmp_path / "shop")
    assert shop.manifest == manifest
    assert (shop.products, shop.articles, shop.orders) == (PRODUCTS, ARTICLES, ORDERS)
    assert shop.customer_ids == ("ann", "bob")
    assert [(i.customer_id, i.product_id, i.kind) for i in shop.interactions] == [
        ("ann", "mug", "purchase")
    ] * 3
    np.testing.assert_array_equal(shop.article_vectors, vectors(3))
    assert (tmp_path / "shop" / "held_out.jsonl").read_text() == "{}\n"
    assert shop_name(tmp_path / "shop") == "toys"


def test_the_same_shop_gives_the_same_bytes_and_another_another_digest(tmp_path: Path) -> None:
    one, same = write(tmp_path / "one"), write(tmp_path / "same", extra_files={"x.txt": "x"})
    assert one.digest == same.digest
    for file in IMPORTED_FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "same" / file).read_bytes()
    others = [
        write(tmp_path / "other", products=PRODUCTS[:1]),
        write(tmp_path / "other", encoder="encoder/2"),
        write(tmp_path / "other", name="others"),
        write(tmp_path / "other", article_vectors=vectors(3, seed=2)),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "../up"}, "name: must be 1 to 64 letters"),
        ({"name": ""}, "name: must be"),
        ({"products": PRODUCTS + PRODUCTS[:1]}, "products: ids must be unique"),
        ({"orders": ORDERS * 2}, "orders: ids must be unique"),
        ({"article_vectors": vectors(2)}, r"article_vectors: must be \[3, d\], is \[2, 384\]"),
        ({"article_vectors": vectors(3) * np.nan}, "article_vectors: must be finite"),
        ({"extra_files": {"../x": ""}}, "extra_files: '../x' is not a free plain file name"),
        ({"extra_files": {"shop.json": ""}}, "extra_files: 'shop.json'"),
        ({"interactions": [Bought(customer_id="a", product_id="b", kind="?")]}, "unknown kind"),
    ],
)
def test_an_unusable_shop_is_not_written_and_leaves_the_old_one(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    before = write(tmp_path / "shop")
    with pytest.raises(ValueError, match=reason):
        write(tmp_path / "shop", **changes)
    assert read_shop(tmp_path / "shop").manifest == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_failure_on_the_way_leaves_the_old_shop_and_no_draft(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield Bought(customer_id="ann", product_id="mug")
        raise KeyboardInterrupt

    before = write(tmp_path / "shop")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "shop", interactions=interrupted())
    assert read_shop(tmp_path / "shop").manifest == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_missing_shop_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as error:
        shop_name(tmp_path / "nowhere")
    assert error.value.message == (
        f"shop: {tmp_path}/nowhere/shop.json: No such file or directory; "
        "run `cartwright models build`"
    )


@pytest.mark.parametrize("file", IMPORTED_FILES)
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damage_is_found_and_named(tmp_path: Path, written: Path, file: str, damage: str) -> None:
    shutil.copytree(written, tmp_path / "shop")
    path = tmp_path / "shop" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(StartupError) as error:
        read_shop(tmp_path / "shop")
    assert error.value.message.startswith(f"shop: {path}: ")
    assert error.value.message.endswith("; run `cartwright models build`")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "files": {}}', "\x00", '"shop"'],
)
def test_a_shop_json_that_is_none_is_named(tmp_path: Path, written: Path, text: str) -> None:
    shutil.copytree(written, tmp_path / "shop")
    (tmp_path / "shop" / "shop.json").write_text(text)
    with pytest.raises(StartupError, match=r"shop: .*shop\.json: .*; run `cartwright models"):
        shop_name(tmp_path / "shop")


def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    path = tmp_path / "shop" / "shop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "../../etc/x"}))
    with pytest.raises(StartupError, match="name: must be 1 to 64 letters"):
        shop_name(tmp_path / "shop")


def test_readers_see_whole_shops_while_a_writer_replaces_them(tmp_path: Path) -> None:
    def write_of_size(count: int) -> str:
        products = [replace(PRODUCTS[0], product_id=f"p{i}") for i in range(count)]
        return write(tmp_path / "shop", products=products, articles=ARTICLES[:count]).digest

    digests = {write_of_size(0)}
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set():
            shop = read_shop(tmp_path / "shop")
            assert len(shop.articles) == len(shop.article_vectors) == len(shop.products)
            seen += 1
        return seen

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            digests |= {write_of_size(number % 3) for number in range(6)}
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)
    assert len(digests) == 3


# ---- importing ----------------------------------------------------------------------------------


async def test_an_import_brings_everything_and_happens_once(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    stores = stores_of(tmp_path)
    assert stores.imported.imported
    assert (stores.imported.products, stores.imported.interactions) == (2, 3)
    assert (stores.imported.articles_added, stores.imported.orders) == (3, 1)
    assert stores.database.path == tmp_path / "state" / "toys.sqlite"
    assert await stores.shop.products() == list(PRODUCTS)
    assert await stores.shop.popularity() == {"mug": 3}
    assert await stores.shop.order("12345") == ORDERS[0]
    assert await stores.shop.order("54321") is None
    assert await stores.history.customer_exists("bob")
    assert len(await stores.history.recent(customer_id="ann")) == 3
    held = await stores.knowledge.vectors("encoder/1")
    order = [[a.article_id for a in ARTICLES].index(i) for i in held.article_ids]
    np.testing.assert_array_equal(held.matrix, vectors(3)[order])
    revision = await stores.knowledge.revision()
    stores.close()

    again = stores_of(tmp_path)
    assert not again.imported.imported
    assert await again.knowledge.revision() == revision
    again.close()


async def test_a_new_shop_replaces_the_catalogue_and_keeps_recorded_events(
    tmp_path: Path,
) -> None:
    write(tmp_path / "shop")
    stores = stores_of(tmp_path)
    bought = Event(
        event_id="e",
        kind=EventKind.PURCHASE,
        product_id="shoe",
        customer_id="new",
        occurred_at_ms=5,
    )
    await stores.history.append([bought])
    await stores.sessions.save("s", {"turn": 1}, 0)
    stores.close()
    write(
        tmp_path / "shop",
        products=PRODUCTS[:1],
        orders=(),
        customer_ids=["cid"],
        interactions=[Bought(customer_id="cid", product_id="mug")],
    )
    stores = stores_of(tmp_path)
    assert stores.imported.imported
    assert await stores.shop.products() == [PRODUCTS[0]]
    assert await stores.shop.order("12345") is None
    assert await stores.shop.popularity() == {"mug": 1, "shoe": 1}
    assert await stores.history.recent(customer_id="ann") == []
    assert len(await stores.history.recent(customer_id="new")) == 1
    assert [await stores.history.customer_exists(c) for c in ("ann", "cid", "new")] == [
        False,
        True,
        True,
    ]
    assert await stores.history.append([bought]) == 0
    assert await stores.sessions.load("s") is not None
    stores.close()


async def test_articles_that_users_changed_stay_until_the_shop_changes_them(
    tmp_path: Path,
) -> None:
    write(tmp_path / "shop")
    stores = stores_of(tmp_path)
    edited = replace(ARTICLES[0], body="Edited by a user.")
    own = Article(article_id="own", title="Own", body="A user's article.")
    await stores.knowledge.upsert([edited, own], [None, None], "encoder/1")
    await stores.knowledge.delete(["gift"])
    stores.close()

    # The shop changes "delivery", says nothing new on "returns" and "gift", and brings "sale".
    changed = replace(ARTICLES[1], body="One day.")
    sale = Article(article_id="sale", title="Sale", body="In July.")
    write(tmp_path / "shop", articles=(ARTICLES[0], changed, ARTICLES[2], sale))
    stores = stores_of(tmp_path)
    counts = stores.imported
    assert (counts.articles_added, counts.articles_updated, counts.articles_kept) == (1, 1, 2)
    bodies = {a.article_id: a.body for a in await stores.knowledge.page("", 10)}
    assert bodies == {
        "delivery": "One day.",
        "own": "A user's article.",
        "returns": "Edited by a user.",
        "sale": "In July.",
    }
    held = await stores.knowledge.vectors("encoder/1")
    assert held.article_ids == ("delivery", "sale")
    np.testing.assert_array_equal(held.matrix, vectors(4)[[1, 3]])
    stores.close()

    # Now it has something new to say on both, and gives up "sale" and "delivery".
    again = tuple(replace(a, body=f"{a.body} New.") for a in (ARTICLES[0], ARTICLES[2]))
    write(tmp_path / "shop", articles=again)
    stores = stores_of(tmp_path)
    counts = stores.imported
    assert (counts.articles_added, counts.articles_updated, counts.articles_removed) == (1, 1, 2)
    bodies = {a.article_id: a.body for a in await stores.knowledge.page("", 10)}
    assert bodies == {
        "gift": "Two euros. New.",
        "own": "A user's article.",
        "returns": "Within 30 days. New.",
    }
    stores.close()


async def test_an_article_that_the_shop_gave_up_stays_if_users_changed_it(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    stores = stores_of(tmp_path)
    edited = replace(ARTICLES[0], body="Edited by a user.")
    await stores.knowledge.upsert([edited], [None], "encoder/1")
    stores.close()
    write(tmp_path / "shop", articles=ARTICLES[1:])
    stores = stores_of(tmp_path)
    assert stores.imported.articles_removed == 0
    assert (await stores.knowledge.get(["returns"]))["returns"].body == "Edited by a user."
    stores.close()


async def test_a_new_encoder_brings_its_vectors_beside_the_old_ones(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    stores_of(tmp_path).close()
    write(tmp_path / "shop", encoder="encoder/2", article_vectors=vectors(3, seed=2))
    stores = stores_of(tmp_path)
    assert stores.imported.articles_updated == 0
    for encoder, seed in (("encoder/1", 1), ("encoder/2", 2)):
        held = await stores.knowledge.vectors(encoder)
        order = [[a.article_id for a in ARTICLES].index(i) for i in held.article_ids]
        np.testing.assert_array_equal(held.matrix, vectors(3, seed=seed)[order])
    assert await stores.knowledge.without_vector("encoder/2", 10) == []
    stores.close()


def test_replicas_that_start_at_once_import_once(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    replicas = 6
    start = threading.Barrier(replicas)

    def replica(number: int) -> bool:
        start.wait()
        stores = stores_of(tmp_path)
        try:
            assert asyncio.run(stores.shop.popularity()) == {"mug": 3}
            return stores.imported.imported
        finally:
            stores.close()

    with ThreadPoolExecutor(replicas) as threads:
        assert sum(threads.map(replica, range(replicas))) == 1
    with closing(sqlite3.connect(tmp_path / "state" / "toys.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)


async def test_a_corrupt_shop_changes_nothing_in_the_database(tmp_path: Path) -> None:
    write(tmp_path / "shop")
    stores_of(tmp_path).close()
    write(tmp_path / "shop", products=PRODUCTS[:1])
    (tmp_path / "shop" / INTERACTIONS_FILE).write_bytes(b"")
    with pytest.raises(StartupError, match=INTERACTIONS_FILE):
        stores_of(tmp_path)
    database = Database(tmp_path / "state" / "toys.sqlite", 1000)
    assert len(await SqliteHistory(database).recent(customer_id="ann")) == 3
    assert await SqliteKnowledge(database).count() == 3
    write(tmp_path / "shop")
    assert not import_shop(database, tmp_path / "shop").imported
    database.close()

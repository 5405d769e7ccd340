"""What a store acknowledged is there afterwards: killed processes, full disks, many processes."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.errors import StartupError
from serving.settings import StoreSettings
from serving.stores.shop_files import write_shop
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.stores.sqlite_stores import open_stores
from tests.small_disk import CannotMount, limited_disk
from tests.store_writer import ENCODER, EVENTS_A_BATCH, article, batch, write_one

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

ROOT = Path(__file__).parents[2]


def start_writer(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store_writer", str(path), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(writer: subprocess.Popen[str]) -> list[list[str]]:
    """The words of every line that it told, once it has ended."""
    with writer:
        assert writer.stdout is not None
        return [line.split() for line in writer.stdout if line.endswith("\n")]


async def check_acknowledged(database: Database, name: str, last: int) -> int:
    """Everything up to round `last` is there and nothing is half; returns the rounds there are."""
    stored = await SqliteSessions(database).load(name)
    assert stored is not None
    assert stored.revision > last
    assert stored.state == {"number": stored.revision - 1}
    history = SqliteHistory(database)
    entries = await history.recent(customer_id=name, limit=1_000_000)
    assert len(entries) % EVENTS_A_BATCH == 0
    batches = len(entries) // EVENTS_A_BATCH
    # The round after the last acknowledged one may have come as far as its session, or less far.
    assert batches - 1 <= stored.revision <= batches
    assert [e.occurred_at_ms for e in entries[::EVENTS_A_BATCH]] == list(range(1, batches + 1))
    assert await history.append(batch(name, last)) == 0
    # By version and arm, of each round one rating; every third is not helpful.
    ((bad, ratings),) = SqliteFeedback(database).counts(name, 0).values()
    assert stored.revision <= ratings <= batches
    assert bad == (ratings + 2) // 3
    assert sum(one for _, one in SqliteFeedback(database).counts(name, last + 1).values()) >= 1
    knowledge = SqliteKnowledge(database)
    held = await knowledge.vectors(ENCODER)
    for number in range(max(0, last - 15), last):
        expected = article(name, number)
        found = (await knowledge.get([expected.article_id]))[expected.article_id]
        assert (found.title, found.body) == (expected.title, expected.body)
        row = held.matrix[held.article_ids.index(expected.article_id)]
        np.testing.assert_array_equal(row, np.full(384, number, np.float32))
        assert expected.article_id in dict(await knowledge.search_words(str(number), 1000))
    return stored.revision


def check_integrity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO article_words (article_words) VALUES ('integrity-check')")
        purchases = dict(connection.execute("SELECT product_id, purchases FROM popularity"))
        counted = dict(
            connection.execute("SELECT product_id, count(*) FROM events GROUP BY product_id")
        )
        assert purchases == counted


def test_everything_acknowledged_survives_kill_nine(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    rng = np.random.default_rng(11)
    names = ("one", "other")
    rounds_there = dict.fromkeys(names, 0)
    for _ in range(6):
        last: dict[str, int] = {}
        with ExitStack() as running:
            writers = {}
            for name in names:
                writers[name] = start_writer(path, "endless", name)
                running.callback(writers[name].wait)
                running.callback(writers[name].kill)
            # Killed in the middle of writing, the first one while the other goes on.
            for name, writer in writers.items():
                assert writer.stdout is not None
                for _ in range(int(rng.integers(5, 60))):
                    last[name] = int(writer.stdout.readline().split()[1])
                writer.kill()
                last[name] = max([last[name], *(int(line[1]) for line in finish(writer))])
        database = Database(path, 5000)
        for name in names:
            revision = asyncio.run(check_acknowledged(database, name, last[name]))
            assert revision > rounds_there[name]
            rounds_there[name] = revision
        database.close()
        check_integrity(path)


def test_turns_of_one_session_from_several_processes_are_all_counted(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    writers = [start_writer(path, "count", str(i), "200") for i in range(4)]
    lines = [finish(writer) for writer in writers]
    assert [line[-1][0] for line in lines] == ["done"] * 4
    database = Database(path, 1000)
    stored = asyncio.run(SqliteSessions(database).load("shared"))
    database.close()
    assert stored is not None
    assert (stored.revision, stored.state) == (800, {"number": 800})


def check_refusal(path: Path, lines: list[list[str]], reason: str) -> None:
    """The writer was refused with a sentence, kept what it had, and the store works again."""
    acknowledged = [int(line[1]) for line in lines if line[0] == "ack"]
    assert acknowledged == list(range(len(acknowledged)))
    refused, read = lines[-2:]
    assert refused[:2] == ["refused", "StoreUnavailable"]
    assert " ".join(refused[2:]).startswith(f"store {path.name}: {reason}")
    assert read == ["read", str(len(acknowledged))]
    check_integrity(path)
    database = Database(path, 1000)
    rounds = asyncio.run(check_acknowledged(database, "full", acknowledged[-1]))
    assert rounds == len(acknowledged)
    asyncio.run(write_one(database, "full", rounds, rounds))
    database.close()
    check_integrity(path)


def test_a_file_that_may_not_grow_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    lines = finish(start_writer(path, "limited", str(2**20)))
    check_refusal(path, lines, "reading or writing the disk failed (SQLITE_IOERR")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    try:
        with limited_disk(tmp_path / "disk", mib=1) as folder:
            yield folder
    except CannotMount as error:
        pytest.skip(str(error))


def test_a_full_disk_refuses_and_keeps_what_it_has(small_disk: Path, tmp_path: Path) -> None:
    path = small_disk / "shop.sqlite"
    lines = finish(start_writer(path, "limited", "0"))
    # Checked where it has room to go on.
    roomy = tmp_path / "roomy"
    shutil.copytree(small_disk, roomy)
    check_refusal(roomy / path.name, lines, "no space is left on the disk (SQLITE_FULL)")


def test_a_disk_that_is_full_at_the_start_is_named_by_its_setting(small_disk: Path) -> None:
    with (
        (small_disk / "filler").open("wb", buffering=0) as filler,
        pytest.raises(OSError, match="No space"),
    ):
        while True:
            filler.write(b"x" * 4096)
    with pytest.raises(StartupError, match=r"^stores\.folder: .*shop\.sqlite: no space is left"):
        Database(small_disk / "shop.sqlite", 100)


def test_a_shop_that_does_not_fit_is_refused_and_leaves_nothing_half(
    small_disk: Path, tmp_path: Path
) -> None:
    articles = [article("a", number) for number in range(20)]
    shop = tmp_path / "shop"
    write_shop(
        shop,
        name="large",
        products=[],
        articles=[
            replace(a, article_id=f"{a.article_id}-{i}") for a in articles for i in range(50)
        ],
        customer_ids=[],
        interactions=[],
        orders=[],
        article_vectors=np.ones((1000, 384), np.float32),
        encoder=ENCODER,
    )
    settings = StoreSettings(folder=small_disk, shop=shop)
    with pytest.raises(StartupError, match=r"^stores\.folder: .* no space is left on the disk"):
        open_stores(settings)
    roomy = tmp_path / "roomy"
    shutil.copytree(small_disk, roomy)
    check_integrity(roomy / "large.sqlite")
    stores = open_stores(settings.model_copy(update={"folder": roomy}))
    assert (stores.imported.imported, stores.imported.articles_added) == (True, 1000)
    stores.close()

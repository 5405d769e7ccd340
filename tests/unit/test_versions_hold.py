"""Previous versions are let go once they have been held."""

import asyncio
import time
from pathlib import Path

from serving.versions.hold import keep_releasing
from serving.versions.lineup import Lineup
from serving.versions.resident import AUTHOR
from serving.versions.store import VersionStore
from tests.waiting import until

MODEL = "understanding"


def store_with(path: Path, age_s: float) -> VersionStore:
    now_ms = time.time_ns() // 1_000_000
    store = VersionStore(path, clock_ms=lambda: now_ms - round(age_s * 1000))
    held = Lineup(model=MODEL, live=4, previous=3)
    store.apply(MODEL, lambda _: held, action="promote 4", author="ada", reason="test")
    return store


async def test_a_version_that_was_held_is_released_once(tmp_path: Path) -> None:
    store = store_with(tmp_path / "versions.sqlite", age_s=100.0)
    replicas = [
        asyncio.create_task(keep_releasing(store.read_all, store, 60.0, period_s=0.01))
        for _ in range(3)
    ]
    await until(lambda: store.read(MODEL)[0].previous is None)
    await asyncio.sleep(0.05)
    for replica in replicas:
        assert not replica.done()
        replica.cancel()
    last, first = store.history(MODEL)
    assert (last.action, last.author, last.reason) == (
        "release",
        AUTHOR,
        "held for 60 s after the last step",
    )
    assert last.lineup.staged == (3,)
    assert first.action == "promote 4"


async def test_a_version_stays_for_its_time(tmp_path: Path) -> None:
    store = store_with(tmp_path / "versions.sqlite", age_s=10.0)
    looks = 0

    def looked() -> dict[str, object]:
        nonlocal looks
        looks += 1
        return store.read_all()  # type: ignore[return-value]

    task = asyncio.create_task(keep_releasing(looked, store, 60.0, period_s=0.01))  # type: ignore[arg-type]
    await until(lambda: looks > 5)
    task.cancel()
    assert store.read(MODEL)[0].previous == 3


async def test_a_step_in_between_is_not_undone(tmp_path: Path) -> None:
    store = store_with(tmp_path / "versions.sqlite", age_s=100.0)
    old = store.read_all()
    store.apply(MODEL, lambda lineup: lineup, action="stage 9", author="bob", reason="test")
    looks = 0

    def looked() -> object:
        nonlocal looks
        looks += 1
        return old

    task = asyncio.create_task(keep_releasing(looked, store, 60.0, period_s=0.01))  # type: ignore[arg-type]
    await until(lambda: looks > 5)
    assert not task.done()
    task.cancel()
    assert store.read(MODEL)[0].previous == 3

"""A process follows the line-ups: opens what is resident, closes what has not been for a while."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from serving.assets import ModelAssets
from serving.errors import StartupError, StoreUnavailable
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.versions import follower as module
from serving.versions.follower import VersionFollower
from serving.versions.lineup import Lineup
from serving.versions.routing import Router
from serving.versions.store import VersionStore
from serving.versions.watch import LineupWatch
from tests.fakes.world import manifest
from tests.waiting import until

MODEL = "candidates"


class Opened:
    """What a process has open."""

    def __init__(self) -> None:
        self.versions: dict[ModelVersion, ModelAssets] = {}

    def opened(self) -> dict[ModelVersion, ModelAssets]:
        return self.versions

    def open(self, assets: ModelAssets) -> None:
        self.versions[ModelVersion(assets.manifest.model, assets.manifest.version)] = assets

    def close(self, version: ModelVersion) -> None:
        del self.versions[version]

    def numbers(self) -> list[int]:
        return sorted(version.version for version in self.versions)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.models = ModelRepository(folder / "models")
        self.store = VersionStore(folder / "versions.sqlite")
        self.opened = Opened()
        self.router = Router(lambda version: version in self.opened.versions)

    def publish(self, version: int, products: object = ("p1",)) -> None:
        folder = self.models.root / MODEL / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        manifest(MODEL, version).write(folder)
        (folder / "products.json").write_text(json.dumps(products))

    def line_up(self, lineup: Lineup) -> None:
        self.store.apply(MODEL, lambda _: lineup, action="set", author="ada", reason="test")

    @asynccontextmanager
    async def following(self, close_after_s: float = 0.0) -> AsyncIterator[VersionFollower]:
        watch = LineupWatch(self.store.path)
        made = VersionFollower(
            watch.poll, self.models, self.opened, self.router, close_after_s=close_after_s
        )
        await made.start()
        try:
            yield made
        finally:
            await made.close()
            watch.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "PERIOD_S", 0.01)
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    made = Bench(tmp_path)
    for version in (1, 2):
        made.publish(version)
    made.line_up(Lineup(model=MODEL, live=1))
    return made


async def test_what_becomes_resident_is_opened_and_what_is_not_any_more_closed(
    bench: Bench,
) -> None:
    async with bench.following():
        assert bench.opened.numbers() == [1]
        bench.line_up(Lineup(model=MODEL, live=1, candidate=2))
        await until(lambda: bench.opened.numbers() == [1, 2])
        bench.line_up(Lineup(model=MODEL, live=2, staged=(1,)))
        await until(lambda: bench.opened.numbers() == [2])
        assert bench.router.lineups()[MODEL].live == 2


async def test_a_version_stays_open_for_the_requests_under_way(bench: Bench) -> None:
    async with bench.following(close_after_s=60.0):
        bench.line_up(Lineup(model=MODEL, live=2, staged=(1,)))
        await until(lambda: bench.router.lineups()[MODEL].live == 2)
        assert bench.opened.numbers() == [1, 2]


async def test_a_version_that_cannot_be_opened_changes_nothing_and_is_tried_again(
    bench: Bench,
) -> None:
    bench.publish(3, products=[])
    async with bench.following() as follower:
        bench.line_up(Lineup(model=MODEL, live=1, candidate=3))
        await until(lambda: bool(follower.faults))
        assert "products.json: ids" in follower.faults[ModelVersion(MODEL, 3)]
        assert bench.opened.numbers() == [1]
        bench.publish(3)
        await until(lambda: bench.opened.numbers() == [1, 3])
        assert follower.faults == {}


async def test_a_live_version_that_cannot_be_opened_is_refused_at_the_start(bench: Bench) -> None:
    bench.publish(1, products=[])
    with pytest.raises(StartupError, match=r"products\.json: ids"):
        async with bench.following():
            pass


async def test_line_ups_that_cannot_be_read_stay_in_force(bench: Bench) -> None:
    calls = 0

    def read() -> None:
        nonlocal calls
        calls += 1
        raise StoreUnavailable("the disk is away")

    async with bench.following() as follower:
        follower._read = read
        await until(lambda: calls > 2)
        assert bench.router.lineups()[MODEL].live == 1
        assert bench.opened.numbers() == [1]


async def test_nothing_is_read_while_nothing_changes(bench: Bench) -> None:
    watch = LineupWatch(bench.store.path)
    first = watch.poll()
    assert first is not None
    assert first[MODEL].lineup.live == 1
    assert watch.poll() is None
    bench.line_up(Lineup(model=MODEL, live=2))
    second = await asyncio.to_thread(watch.poll)
    assert second is not None
    assert (second[MODEL].lineup.live, second[MODEL].revision) == (2, 2)
    assert watch.poll() is None
    watch.close()

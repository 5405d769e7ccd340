"""Several versions of a model on a real tritonserver: they come and go beside each other."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.triton import residents
from serving.triton.records import HostState
from tests.tiny_models import add_graph, publish
from tests.triton_bench import Bench, processes, shared_memory, until_record

pytestmark = pytest.mark.integration


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Hosts over a repository with version 1 of `slow`, and 1 and 2 of `add`."""
    made = Bench.make(tmp_path)
    publish(tmp_path / "other", "add", add_graph(), version=2)
    (tmp_path / "other" / "add" / "2").rename(tmp_path / "models" / "add" / "2")
    yield made
    await made.close()
    assert processes(tmp_path) == []
    assert shared_memory(os.getpid()) == []


class Wish:
    """Which versions are wanted; tests change their mind."""

    def __init__(self, **versions: tuple[int, ...]) -> None:
        self.versions = versions

    def __call__(self) -> dict[str, tuple[int, ...]]:
        return self.versions


async def test_versions_come_and_go_beside_each_other(bench: Bench) -> None:
    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(settings=bench.settings(unload_after_s=0.2), wanted=wish)
    await host.start()
    assert dict(host.record.ready_models) == {"add": (1,), "slow": (1,)}
    wish.versions = {"add": (1, 2), "slow": (1,)}
    await until_record(host, lambda r: r.ready_models.get("add") == (1, 2))
    wish.versions = {"add": (2,), "slow": (1,)}
    await until_record(host, lambda r: r.ready_models.get("add") == (2,))
    assert host.record.restarts == 0
    # A version that is not published changes nothing for the others.
    wish.versions = {"add": (2, 9), "slow": (1,)}
    await until_record(host, lambda r: "add/9" in r.faults)
    assert "its files cannot be read" in host.record.faults["add/9"]
    assert dict(host.record.ready_models) == {"add": (2,), "slow": (1,)}
    wish.versions = {"add": (2,), "slow": (1,)}
    await until_record(host, lambda r: not r.faults)


async def test_a_host_that_comes_back_has_what_is_wanted_then(bench: Bench) -> None:
    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(wanted=wish)
    await host.start()
    os.kill(host.record.pid, signal.SIGKILL)
    wish.versions = {"add": (2,), "slow": (1,)}
    record = await until_record(host, lambda r: r.restarts == 1 and r.state is HostState.READY)
    assert dict(record.ready_models) == {"add": (2,), "slow": (1,)}


async def test_a_version_that_does_not_fit_into_memory_is_not_loaded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(wanted=wish)
    await host.start()
    monkeypatch.setattr(residents, "free_bytes", lambda: 260 * 2**20)
    wish.versions = {"add": (1, 2), "slow": (1,)}
    record = await until_record(host, lambda r: "add/2" in r.faults)
    assert "260 MiB that are free and 256 MiB that are kept" in record.faults["add/2"]
    assert record.ready_models["add"] == (1,)
    monkeypatch.undo()
    await until_record(host, lambda r: r.ready_models.get("add") == (1, 2))

"""Several versions of a model on a real tritonserver: they come and go beside each other."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.triton import residents
from serving.triton.control import ServerControl
from serving.triton.host import TritonHost
from serving.triton.records import HostState
from tests.tiny_models import add_graph, publish
from tests.triton_bench import Bench, processes, shared_memory, until_record
from tests.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Hosts over a repository with version 1 of `slow`, and 1 and 2 of `add`."""
    made = Bench.make(tmp_path)
    publish(tmp_path / "other", "add", add_graph(), version=2)
    (tmp_path / "other" / "add" / "2").rename(tmp_path / "models" / "add" / "2")
    yield made
    await made.close()
    # Killed processes take some milliseconds to give their memory back.
    await until(lambda: processes(tmp_path) == [])
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


async def test_a_further_version_starts_one_instance_after_the_other_and_a_little_at_a_time(
    bench: Bench,
) -> None:
    two_instances(bench)
    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(settings=bench.settings(loading_share=0.2), wanted=wish)
    shares: set[str] = set()
    at_once: list[int] = []

    def look() -> bool:
        for name in start_shares():
            with contextlib.suppress(FileNotFoundError):
                shares.add((Path("/dev/shm") / name).read_text())
        if host.record.ready_models.get("add") != (1, 2):
            return False
        at_once.append(len(stubs(host, "add.2")))
        return True

    await host.start()
    # Nobody is served yet who could be disturbed.
    assert len(stubs(host, "add.1")) == 2
    assert start_shares() == []
    wish.versions = {"add": (1, 2), "slow": (1,)}
    await until(look, 20.0)
    assert at_once == [2]
    assert shares - {""} == {"0.2"}
    assert start_shares() == []
    # To import NumPy and ONNX Runtime takes more than 50 ms of a core, at its share 0.25 s.
    first, second = sorted(process.create_time() for process in stubs(host, "add.2"))
    assert second - first > 0.25


async def test_a_version_that_cannot_start_all_instances_is_not_loaded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_instances(bench)
    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(settings=bench.settings(loading_share=1.0), wanted=wish)
    await host.start()
    file = bench.folder / "models" / "add" / "2" / "model.onnx"
    load = ServerControl.load

    async def lose_file_after_the_first(control: ServerControl, *arguments: Any) -> None:
        await load(control, *arguments)
        if file.exists():
            file.rename(file.with_suffix(".lost"))

    monkeypatch.setattr(ServerControl, "load", lose_file_after_the_first)
    wish.versions = {"add": (1, 2), "slow": (1,)}
    record = await until_record(host, lambda r: "add/2" in r.faults)
    monkeypatch.undo()
    assert "Triton cannot load it" in record.faults["add/2"]
    assert record.ready_models["add"] == (1,)
    file.with_suffix(".lost").rename(file)
    record = await until_record(host, lambda r: r.ready_models.get("add") == (1, 2))
    assert not record.faults
    assert len(stubs(host, "add.2")) == 2
    assert record.restarts == 0


def two_instances(bench: Bench) -> None:
    config = bench.folder / "models" / "add" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))


def stubs(host: TritonHost, model: str) -> list[psutil.Process]:
    """The living processes of a model, by Triton's name of it."""
    found = []
    for child in psutil.Process(host.record.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"/{model}/" in " ".join(child.cmdline()):
                found.append(child)
    return found


def start_shares() -> list[str]:
    return [name for name in shared_memory(os.getpid()) if name.endswith("start-share")]


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

"""Several versions of a model on a real tritonserver: they come and go beside each other."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from serving.triton import residents
from serving.triton.background import may_return
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


@pytest.mark.skipif(not may_return(), reason="without CAP_SYS_NICE or RLIMIT_NICE of 20")
async def test_a_version_loads_behind_those_that_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind: dict[int, list[str]] = {}
    set_scheduler = os.sched_setscheduler

    def noted(pid: int, policy: int, param: os.sched_param) -> None:
        set_scheduler(pid, policy, param)
        # Threads other than a process's first are none to psutil.
        with contextlib.suppress(psutil.NoSuchProcess):
            if policy == os.SCHED_IDLE:
                behind[pid] = psutil.Process(pid).cmdline()

    wish = Wish(add=(1,), slow=(1,))
    host = bench.host(wanted=wish)
    monkeypatch.setattr(os, "sched_setscheduler", noted)
    await host.start()
    # Nobody is served yet who could be disturbed.
    assert not behind
    wish.versions = {"add": (1, 2), "slow": (1,)}
    await until_record(host, lambda r: r.ready_models.get("add") == (1, 2))
    assert behind
    assert all("add.2" in " ".join(command) for command in behind.values())
    assert {os.sched_getscheduler(pid) for pid in behind} == {os.SCHED_OTHER}


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

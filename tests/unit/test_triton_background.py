"""Processes that load a version wait for those that serve, and come back."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from serving.triton import background
from serving.triton.background import in_background, may_return
from tests.waiting import until

PATIENT_S = 60.0


class Started:
    """The processes that a test has started; each has two threads that sleep."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> int:
        code = (
            "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); "
            "print(flush=True); time.sleep(600)"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self._processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    def __call__(self) -> list[int]:
        return [process.pid for process in self._processes]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate(timeout=10)


@pytest.fixture
def started() -> Iterator[Started]:
    made = Started()
    yield made
    made.end()


def policies(pid: int) -> set[int]:
    threads = psutil.Process(pid).threads()
    assert len(threads) == 2
    return {os.sched_getscheduler(thread.id) for thread in threads}


@pytest.mark.skipif(not may_return(), reason="without CAP_SYS_NICE or RLIMIT_NICE of 20")
async def test_what_starts_within_the_block_waits_until_its_end(started: Started) -> None:
    async with in_background(started, PATIENT_S):
        first = started.start()
        await until(lambda: policies(first) == {os.SCHED_IDLE})
        second = started.start()
        await until(lambda: policies(second) == {os.SCHED_IDLE})
    assert policies(first) | policies(second) == {os.SCHED_OTHER}


@pytest.mark.skipif(not may_return(), reason="without CAP_SYS_NICE or RLIMIT_NICE of 20")
async def test_an_error_ends_the_waiting_too(started: Started) -> None:
    pid = started.start()
    with pytest.raises(RuntimeError, match="no such operator"):
        async with in_background(started, PATIENT_S):
            await until(lambda: policies(pid) == {os.SCHED_IDLE})
            raise RuntimeError("no such operator")
    assert policies(pid) == {os.SCHED_OTHER}


@pytest.mark.skipif(not may_return(), reason="without CAP_SYS_NICE or RLIMIT_NICE of 20")
async def test_nothing_waits_for_ever(started: Started, caplog: pytest.LogCaptureFixture) -> None:
    pid = started.start()
    async with in_background(started, 0.2):
        await until(lambda: policies(pid) == {os.SCHED_IDLE})
        await until(lambda: policies(pid) == {os.SCHED_OTHER})
        assert "not loaded after 0.2 s" in caplog.text


async def test_one_that_has_ended_is_left_alone(started: Started) -> None:
    pid = started.start()
    asked = 0

    def with_one_that_ended() -> list[int]:
        nonlocal asked
        asked += 1
        # Nothing has this number: Linux counts up to 2^22.
        return [2**22 + 1, pid]

    async with in_background(with_one_that_ended, PATIENT_S):
        if may_return():
            await until(lambda: asked > 1)
    assert policies(pid) == {os.SCHED_OTHER}


@pytest.mark.skipif(not may_return(), reason="without CAP_SYS_NICE or RLIMIT_NICE of 20")
async def test_what_goes_wrong_with_it_is_told_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = asyncio.Event()

    def failing() -> list[int]:
        asked.set()
        raise psutil.AccessDenied(1)

    async with in_background(failing, PATIENT_S):
        await asked.wait()
        await asyncio.sleep(0)
    assert "loaded at usual priority" in caplog.text
    assert "AccessDenied" in caplog.text


@pytest.mark.parametrize(("patience_s", "allowed"), [(0.0, True), (PATIENT_S, False)])
async def test_without_patience_or_the_right_to_return_nothing_is_touched(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, allowed: bool
) -> None:
    monkeypatch.setattr(background, "may_return", lambda: allowed)

    def nobody_asks() -> list[int]:
        raise AssertionError

    async with in_background(nobody_asks, patience_s):
        await asyncio.sleep(0)


async def test_who_may_not_return_does_not_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "may_return", may_return.__wrapped__)

    def set_scheduler(_pid: int, policy: int, _param: os.sched_param) -> None:
        if policy == os.SCHED_OTHER:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(background.os, "sched_setscheduler", set_scheduler)
    assert background.may_return() is False

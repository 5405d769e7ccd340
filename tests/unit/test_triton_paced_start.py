"""A model's process starts a little at a time: as its host says, and no longer than it has to."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from serving.triton import pacing
from serving.triton.pacing import paced_starts
from serving.triton.shared_memory import new_prefix, start_share_file

SOURCE = Path(pacing.__file__).parent / "backends" / "onnxruntime" / "paced_start.py"


@pytest.fixture
def paced_start() -> ModuleType:
    """As Triton's process imports it."""
    spec = importlib.util.spec_from_file_location("paced_start", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Clock:
    """CPU time that a test spends, and what was slept."""

    def __init__(self) -> None:
        self.worked_s = 0.0
        self.slept_s: list[float] = []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(time, "process_time", lambda: made.worked_s)
        patch.setattr(time, "sleep", made.slept_s.append)
        yield made


def test_a_process_finds_the_share_that_its_host_gave(
    paced_start: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = new_prefix()
    region = f"{prefix}1e5b6c1c-4a43-4be5-a8b3-6d3ea8a1f8f1"
    arguments = ["stub", "/models/add.2/2/model.onnx", region, "1048576"]
    assert paced_start.share_of(arguments) == 1.0
    with paced_starts(prefix, 0.25):
        assert paced_start.share_of(arguments) == 0.25
        # Another server's processes are not meant.
        assert paced_start.share_of([*arguments[:2], new_prefix() + "rest"]) == 1.0
    assert paced_start.share_of(arguments) == 1.0
    with paced_starts(prefix, 1.0):
        assert not start_share_file(prefix).exists()
    assert not caplog.records


@pytest.mark.parametrize("arguments", [[], ["python", "-c"], ["stub", "path", "region"]])
def test_without_a_host_nothing_rests(paced_start: ModuleType, arguments: list[str]) -> None:
    assert paced_start.share_of(arguments) == 1.0
    assert paced_start.start not in sys.meta_path


@pytest.mark.parametrize("text", ["", "much"])
def test_a_share_that_cannot_be_read_holds_nothing_up(
    paced_start: ModuleType, tmp_path: Path, text: str
) -> None:
    (tmp_path / "cartwright-triton-1-2-3-start-share").write_text(text)
    arguments = ["stub", "path", "cartwright-triton-1-2-3-uuid"]
    assert paced_start.share_of(arguments, str(tmp_path)) == 1.0


def test_a_process_rests_between_imports_by_its_share(
    paced_start: ModuleType, clock: Clock
) -> None:
    clock.worked_s = 0.010
    start = paced_start.PacedStart(0.2)
    start.begin()
    try:
        # What it took before it could be told counts.
        assert clock.slept_s == [pytest.approx(0.04)]
        clock.worked_s += 0.002
        assert importlib.util.find_spec("no_such_module_anywhere") is None
        assert len(clock.slept_s) == 1
        clock.worked_s += 0.002
        assert importlib.util.find_spec("no_such_module_anywhere") is None
        assert clock.slept_s[1:] == [pytest.approx(0.016)]
        clock.worked_s += 10.0
        start.rest()
        assert clock.slept_s[2:] == [0.5]
        clock.worked_s += 0.010
    finally:
        start.end()
    assert clock.slept_s[3:] == [pytest.approx(0.04)]
    assert start not in sys.meta_path
    clock.worked_s += 1.0
    start.rest()
    assert len(clock.slept_s) == 4


def test_a_slow_machine_makes_no_process_rest_for_longer_than_triton_waits(
    paced_start: ModuleType, clock: Clock
) -> None:
    start = paced_start.PacedStart(0.05)
    for _ in range(100):
        clock.worked_s += 0.1
        start.rest()
    assert max(clock.slept_s) == 0.5
    assert sum(clock.slept_s) == pytest.approx(12.0)


def test_a_full_share_is_left_alone(paced_start: ModuleType, clock: Clock) -> None:
    start = paced_start.PacedStart(1.0)
    start.begin()
    assert start not in sys.meta_path
    clock.worked_s = 5.0
    start.rest()
    start.end()
    assert clock.slept_s == []


def test_where_the_share_cannot_be_told_the_load_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "nowhere" / "share"
    monkeypatch.setattr(pacing, "start_share_file", lambda _prefix: file)
    with paced_starts("any-", 0.5):
        assert "versions start at full speed" in caplog.text
        assert str(file) in caplog.text

"""Whether another version fits into memory."""

import os
from pathlib import Path

import pytest

from serving.triton.memory import free_bytes, memory_of, shortage

MIB = 2**20


def test_what_fits_and_leaves_the_reserve_is_taken() -> None:
    assert shortage(100 * MIB, 356 * MIB, 256 * MIB) is None
    short = shortage(100 * MIB, 355 * MIB, 256 * MIB)
    assert short is not None
    assert "about 100 MiB" in short
    assert "of 355 MiB" in short
    assert "256 MiB that are kept" in short


@pytest.mark.parametrize(
    ("limit", "current", "expected"),
    [("1000000", "400000", 600_000), ("1000000", "1500000", -500_000)],
)
def test_the_containers_limit_counts(
    tmp_path: Path, limit: str, current: str, expected: int
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{current}\n")
    assert free_bytes(tmp_path) == expected


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    without = free_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert without > MIB
    assert free_bytes(tmp_path) > MIB


def test_processes_that_are_gone_count_nothing() -> None:
    own = memory_of([os.getpid()])
    assert own > MIB
    assert memory_of([2**22 + 1]) == 0
    assert memory_of([]) == 0

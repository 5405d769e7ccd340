"""Whether another version of a model fits into memory beside those that are loaded."""

from collections.abc import Sequence
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20


def free_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that this machine, and the container that we are in, can still give."""
    free = int(psutil.virtual_memory().available)
    try:
        # Version 2 of control groups; "max" for no limit.
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdecimal() else free


def memory_of(pids: Sequence[int]) -> int:
    """Bytes that processes have resident; those that are gone count nothing."""
    total = 0
    for pid in pids:
        try:
            total += int(psutil.Process(pid).memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return total


def shortage(needed_bytes: int, free: int, reserve_bytes: int) -> str | None:
    """What is missing, in words; None if `needed_bytes` fit and leave the reserve."""
    if free - needed_bytes >= reserve_bytes:
        return None
    return (
        f"it takes about {needed_bytes // _MIB} MiB beside what is loaded, of {free // _MIB} MiB "
        f"that are free and {reserve_bytes // _MIB} MiB that are kept (triton.memory_reserve_mib)"
    )

"""Names of a server's regions in /dev/shm, so that what a dead owner left can be told apart.

cartwright-triton-<pid namespace>-<pid of the supervisor>-<random>-<Triton's own part>
"""

import os
import secrets
from pathlib import Path

import psutil

_FOLDER = Path("/dev/shm")


def new_prefix() -> str:
    """A prefix for one server of this process."""
    return f"{_family()}{os.getpid()}-{secrets.token_hex(4)}-"


def start_share_file(prefix: str) -> Path:
    """Where the processes of a server find how much of a core they may take to start.

    Lies with the regions, so that it goes with them.
    """
    return _FOLDER / f"{prefix}start-share"


def remove_regions(prefix: str) -> None:
    """Removes what a server left behind."""
    for path in _FOLDER.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_orphans() -> None:
    """Removes regions whose supervisor is gone without its tether having cleaned up."""
    family = _family()
    for path in _FOLDER.glob(f"{family}*"):
        owner = path.name.removeprefix(family).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)


def _family() -> str:
    """Containers may share /dev/shm without sharing process ids, hence the namespace."""
    namespace = Path("/proc/self/ns/pid").readlink().name
    return f"cartwright-triton-{''.join(filter(str.isdecimal, namespace))}-"

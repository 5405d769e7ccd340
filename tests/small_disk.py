"""File systems that are full soon."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotMount(Exception):
    """No file system can be mounted here; the text says why."""


@contextmanager
def limited_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of `mib` MiB in a folder, which is made; for the length of a block.

    Raises:
        CannotMount: before the block.
    """
    folder.mkdir(parents=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise CannotMount("making a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise CannotMount(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)

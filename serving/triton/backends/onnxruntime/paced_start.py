"""Starts a model's process a little at a time while its server answers with other models.

To start Python, import NumPy and ONNX Runtime and open a model is some tenths of a second of a
core. Done at once, everybody who is served by the same cores waits for it. So whenever the process
has worked for some milliseconds, it rests for as long as its share asks for. That happens between
two imports, and wherever the model calls `rest`: never within foreign code that may hold a lock
which the server waits for, as stopping the process from outside would.

The share is in a file that the server's host makes for as long as it wants it (see
`serving/triton/pacing.py`); without it, nothing rests. Imported before everything else, hence
without imports that a process does not have anyway.
"""

import sys
import time
from types import ModuleType
from typing import Any

# CPU seconds between two rests, at the least: a rest that is much shorter ends late.
_GRAIN_S = 0.003
# One rest at the longest, and all of them: Triton waits for a process only so long (30 s, its
# option stub-timeout-seconds).
_LONGEST_REST_S = 0.5
_MOST_REST_S = 12.0
# In the names of a server's shared memory, what stands before Triton's own part.
_PREFIX_PARTS = 5
_REGION_ARGUMENT = 2


class PacedStart:
    """Finds no module: it is asked before each import, and rests."""

    def __init__(self, share: float) -> None:
        """Counts the CPU time that the process has taken before as the first piece of work.

        Args:
            share: of one core, in (0, 1].
        """
        self._rest_per_s = 1.0 / share - 1.0
        self._rested_at_s = 0.0
        self._left_s = _MOST_REST_S

    def begin(self) -> None:
        """Rests between imports from now on, unless the share is all of a core."""
        if self._rest_per_s > 0.0:
            sys.meta_path.insert(0, self)
            self.rest()

    def find_spec(self, _name: str, _path: Any = None, _target: ModuleType | None = None) -> None:
        """Leaves the module to the other finders."""
        self.rest()

    def rest(self) -> None:
        """Sleeps by the share for the CPU time that was taken since the last rest."""
        if self._rest_per_s == 0.0:
            return
        worked_s = time.process_time() - self._rested_at_s
        if worked_s >= _GRAIN_S:
            rest_s = min(worked_s * self._rest_per_s, _LONGEST_REST_S, self._left_s)
            self._left_s -= rest_s
            time.sleep(rest_s)
            self._rested_at_s = time.process_time()

    def end(self) -> None:
        """Rests once more, then never again."""
        self.rest()
        self._rest_per_s = 0.0
        if self in sys.meta_path:
            sys.meta_path.remove(self)


def share_of(arguments: list[str], folder: str = "/dev/shm") -> float:
    """The share that a process has to keep to; 1.0 if nobody says so.

    Args:
        arguments: its command line; the third is the name of its shared memory.
        folder: of the shared memory, and of the file.
    """
    if len(arguments) <= _REGION_ARGUMENT:
        return 1.0
    prefix = "-".join(arguments[_REGION_ARGUMENT].split("-")[:_PREFIX_PARTS])
    try:
        with open(f"{folder}/{prefix}-start-share", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is an import of milliseconds
            return float(file.read())
    except (OSError, ValueError):
        return 1.0


def _command_line() -> list[str]:
    with open("/proc/self/cmdline", encoding="utf-8") as file:  # noqa: PTH123 - as above
        return file.read().split("\0")


start = PacedStart(share_of(_command_line()))
start.begin()

"""Servers of the benchmark's own, each in a child process: `python loadtest/bench serve NAME`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from loadtest.bench.cpu import MARKER
from loadtest.bench.variants import Start
from serving.errors import StartupError
from serving.settings import child_environment

ROOT = Path(__file__).parents[2]
_FOLDER = "BENCH_FOLDER"
_SERVING_ON = re.compile(r"^serving on (\S+:\d+)$")
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0
_LAST_LINES = 20


def starts_child(name: str, arguments: Sequence[str]) -> Start:
    """Starts the server `name` with these arguments.

    The block that it serves raises StartupError when the child ends or says nothing in time.
    """

    @contextmanager
    def start(mark: str) -> Iterator[str]:
        # Ours to remove: a child that Ray ends does not get to it.
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent), "serve", name, *arguments],
                cwd=ROOT,
                env=child_environment({MARKER: mark, _FOLDER: folder}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            output = _Output(process)
            try:
                yield output.wait_for_address(name)
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_TIMEOUT_S)
                process.kill()
                process.wait()
                output.close()

    return start


class _Output:
    """Reads what the child prints, so that it never blocks on a full pipe."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._address = ""
        self._known = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            if found := _SERVING_ON.match(line):
                self._address = found.group(1)
                self._known.set()
        self._known.set()

    def wait_for_address(self, name: str) -> str:
        self._known.wait(_START_TIMEOUT_S)
        if not self._address:
            raise StartupError(f"bench server {name}: did not start: " + " | ".join(self._lines))
        return self._address

    def close(self) -> None:
        self._thread.join(timeout=_STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


def own_folder() -> Path:
    """In a child: an empty folder of its own, which the parent removes; its path is short."""
    return Path(os.environ[_FOLDER])


def say_serving(address: str) -> None:
    """Tells the parent where this child serves."""
    print(f"serving on {address}", flush=True)


def on_stop(stop: Callable[[], object]) -> None:
    """Has `stop` called when the parent wants this child to end; in the main thread only."""

    def _handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)

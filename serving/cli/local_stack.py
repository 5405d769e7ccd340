"""A stack of one's own for the length of a block: `cartwright serve` as a child process."""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving.client import CommerceClient
from serving.errors import DeadlineExceeded, StartupError, Unavailable
from serving.settings import child_environment

START_TIMEOUT_S = 150.0
STOP_TIMEOUT_S = 60.0
HEALTH_DEADLINE_MS = 2000.0
_SERVING_ON = re.compile(r"^serving on (\S+:\d+)")
_LAST_LINES = 20


@dataclass(frozen=True, kw_only=True)
class LocalStack:
    """A running child stack."""

    address: str
    process: psutil.Process
    # Working directory.
    folder: Path
    # Seconds from the start of the process until its health said SERVING.
    start_s: float

    def tritonservers(self) -> list[psutil.Process]:
        """The model hosts' server processes."""
        servers = []
        for child in self.process.children(recursive=True):
            # Processes of the stack come and go while they are looked at.
            with suppress(psutil.NoSuchProcess):
                if child.name() == "tritonserver" and child.status() != psutil.STATUS_ZOMBIE:
                    servers.append(child)
        return servers


@contextmanager
def local_stack(overrides: Mapping[str, str], folder: Path | None = None) -> Iterator[LocalStack]:
    """Starts `cartwright serve`, waits until it is SERVING, and stops it at the end.

    Args:
        overrides: environment variables of settings, e.g. {"CARTWRIGHT_TRITON__HOSTS": "2"}.
        folder: working directory; relative paths of the settings start there.

    Raises:
        StartupError: it ended or was not SERVING in time; with its last lines.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cartwright-") as state:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.cli.main", "serve"],
            cwd=folder,
            env=child_environment(
                {
                    "CARTWRIGHT_SERVER__GRPC_PORT": "0",
                    "CARTWRIGHT_SERVER__RUN_FILE": str(Path(state) / "serve.json"),
                    "CARTWRIGHT_STORES__FOLDER": str(Path(state) / "state"),
                    **overrides,
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = _Output(process)
        try:
            address = output.wait_for_address(began + START_TIMEOUT_S)
            _wait_until_serving(address, output, began + START_TIMEOUT_S)
            yield LocalStack(
                address=address,
                process=psutil.Process(process.pid),
                folder=folder or Path.cwd(),
                start_s=time.monotonic() - began,
            )
        finally:
            _stop(process)
            output.close()


class _Output:
    """Reads what the child prints, so that it never blocks on a full pipe."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._address = ""
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line.rstrip())
                found = _SERVING_ON.match(line)
                if found:
                    self._address = found.group(1)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for_address(self, give_up_at_s: float) -> str:
        with self._news:
            self._news.wait_for(
                lambda: self._address or self._ended, give_up_at_s - time.monotonic()
            )
            if self._address:
                return self._address
        raise self.failure("ended" if self.ended else "did not start in time")

    @property
    def ended(self) -> bool:
        """Whether the child is gone; what it started may still hold its output open."""
        with self._news:
            return self._ended or self._process.poll() is not None

    def failure(self, what: str) -> StartupError:
        """The error to raise, with the child's last lines."""
        with self._news:
            return StartupError(f"cartwright serve {what}: " + " | ".join(self._lines))

    def close(self) -> None:
        self._thread.join(timeout=STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _wait_until_serving(address: str, output: _Output, give_up_at_s: float) -> None:
    with CommerceClient(address, channels=1) as client:
        while True:
            try:
                if client.health(deadline_ms=HEALTH_DEADLINE_MS) == "SERVING":
                    return
            except (Unavailable, DeadlineExceeded):
                # The ingress is not reachable yet, or busy with its own start.
                pass
            if output.ended:
                raise output.failure("ended")
            if time.monotonic() > give_up_at_s:
                raise output.failure("was not SERVING in time")
            time.sleep(0.1)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The process of one tritonserver: started, watched and ended, whatever event loop is running.

The exit is awaited in a thread of its own and not by asyncio's subprocess support, which under
some event loops needs the main thread; Ray runs a replica's loop in another one.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "cartwright-triton"
_LAUNCHER = Path(__file__).with_name("launch.py")


class ServerProcess:
    """A running process in a session of its own. Made by `spawn`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start
        self._loop = asyncio.get_running_loop()
        # Becomes the exit code; negative is the number of the signal that ended it.
        self.exited: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._wait, name=f"wait-{process.pid}", daemon=True).start()

    @classmethod
    def spawn(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Self:
        """Starts `command`; its output is appended to `log`.

        The process is killed when the *thread* that called this ends (so works the kernel), hence
        call it in the thread of the event loop.

        Raises:
            OSError: the log cannot be written or the process not be started.
        """
        with log.open("ab") as output:
            output.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {command[0]}\n".encode())
            output.flush()
            log_start = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
                # Python looks for modules in the working directory first.
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log, log_start)

    @property
    def pid(self) -> int:
        """Process id, and id of its session and group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.exited.done()

    def describe_exit(self) -> str:
        """How it ended, for people."""
        code = self.exited.result()
        if code < 0:
            return f"tritonserver (pid {self.pid}) was ended by {signal.Signals(-code).name}"
        return f"tritonserver (pid {self.pid}) ended with exit code {code}"

    def output(self, last_bytes: int = 64_000) -> str:
        """What it has written so far; only the end of it, if that is long."""
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - last_bytes))
            return file.read().decode(errors="replace")

    async def stop(self, patience_s: float) -> None:
        """Asks it to end and, after `patience_s` seconds, kills it with all that it started."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            await asyncio.wait({self.exited}, timeout=patience_s)
        await self.kill()

    async def kill(self) -> None:
        """Ends it and every process that it started, now."""
        # The group outlives its leader as long as a stub does.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await asyncio.wait({self.exited})

    def _wait(self) -> None:
        code = self._process.wait()
        # The loop may be closed by now; then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._note_exit, code)

    def _note_exit(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


def shared_memory_prefix() -> str:
    """A new prefix for a server's regions in /dev/shm; tells who owns them."""
    return f"{_owner_prefix(os.getpid())}{secrets.token_hex(4)}-"


def remove_shared_memory(prefix: str) -> None:
    """Removes what a killed server left in /dev/shm."""
    for path in _SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_orphaned_shared_memory() -> None:
    """Removes regions of servers whose owners are gone."""
    namespace = _pid_namespace()
    for path in _SHARED_MEMORY.glob(f"{_PREFIX}-{namespace}-*"):
        owner = path.name.removeprefix(f"{_PREFIX}-{namespace}-").split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)


def _owner_prefix(pid: int) -> str:
    return f"{_PREFIX}-{_pid_namespace()}-{pid}-"


def _pid_namespace() -> str:
    """Containers may share /dev/shm without sharing process ids."""
    target = Path("/proc/self/ns/pid").readlink().name
    return "".join(filter(str.isdecimal, target))

"""The process of one tritonserver: started, watched and ended, whatever event loop is running.

Its end is awaited in a thread and not by asyncio's subprocess support, which under some event loops
needs the main thread; Ray runs a replica's loop in another one.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

_TETHER = Path(__file__).with_name("tether.py")


class ServerProcess:
    """A running server in a session of its own, behind a tether. Made by `spawn`."""

    def __init__(self, tether: "subprocess.Popen[bytes]", log: Path, log_start: int) -> None:
        self._tether = tether
        self._log = log
        self._log_start = log_start
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[int] = self._loop.create_future()
        # Becomes the exit code; negative is the number of the signal that ended it.
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._cleaned_up: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._listen, name=f"tether-{tether.pid}", daemon=True).start()

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        shared_memory_prefix: str,
    ) -> Self:
        """Starts `command`; its output is appended to `log`.

        Args:
            command: program and arguments.
            environment: the whole environment.
            log: file that exists or can be made.
            shared_memory_prefix: regions in /dev/shm with this prefix are removed when it ends.

        Raises:
            OSError: the log cannot be written or the program not be started.
        """
        with log.open("ab") as output:
            log_start = output.tell()
            tether = subprocess.Popen(  # noqa: ASYNC220 - milliseconds; see the module's docstring
                [
                    *(sys.executable, "-I", "-S", str(_TETHER)),
                    *(str(log), shared_memory_prefix, *command),
                ],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        process = cls(tether, log, log_start)
        try:
            either: set[asyncio.Future[int]] = {process._started, process.exited}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await process.kill()
            raise
        if not process._started.done():
            raise OSError(f"{command[0]}: {process.output().strip().splitlines()[-1:]}")
        return process

    @property
    def pid(self) -> int:
        """Process id of the server, and id of its session and group."""
        return self._started.result()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.exited.done()

    def listening_ports(self) -> set[int]:
        """TCP ports on which the server listens now."""
        try:
            connections = psutil.Process(self.pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return set()
        return {int(c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}

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
        """Ends it and every process that it started, now; returns when all is cleaned up."""
        assert self._tether.stdin is not None
        self._tether.stdin.close()
        await asyncio.wait({self._cleaned_up})

    def _listen(self) -> None:
        """Follows what the tether tells; runs in a thread."""
        assert self._tether.stdout is not None
        told = False
        with self._tether.stdout as lines:
            for line in lines:
                word, number = line.split()
                if word == b"started":
                    self._call(self._started, int(number))
                else:
                    self._call(self.exited, int(number))
                    told = True
        self._tether.wait()
        if not told:
            # The tether was killed; the kernel kills the server then, but not its stubs.
            if self._started.done():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            self._call(self.exited, -signal.SIGKILL)
        self._call(self._cleaned_up, 0)

    def _call(self, future: "asyncio.Future[int]", value: int) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(value)

        # The loop may be closed by now; then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)

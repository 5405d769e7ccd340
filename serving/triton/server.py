"""One launched tritonserver: its process, its control connection, its traces on the machine."""

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

from serving.errors import StartupError
from serving.models.version import ModelVersion
from serving.settings import TelemetrySettings
from serving.triton.command import EXIT_TIMEOUT_S, LOOPBACK, Ports, server_command
from serving.triton.control import ProbeFailed, ServerControl
from serving.triton.installation import TritonInstallation
from serving.triton.pacing import paced_starts
from serving.triton.process import ServerProcess
from serving.triton.served import parse_served_name
from serving.triton.shared_memory import new_prefix, remove_orphans, remove_regions
from serving.triton.stubs import StubWatch

T = TypeVar("T")

# Time to exit by itself; it may overstay its own limit when a stub is dead.
STOP_PATIENCE_S = EXIT_TIMEOUT_S + 1.0
_LAST_LINES = 5
_NAME_TIMEOUT_S = 1.0
_NAME_PAUSE_S = 0.02


class ServerLost(Exception):
    """The process ended; the text says how."""


class PortTaken(ServerLost):
    """The process ended because another one took a port first."""


class Server:
    """A running tritonserver. Made by `launch`; ends with `stop` or `discard`."""

    def __init__(
        self, process: ServerProcess, ports: Ports, name: str, prefix: str, repository: Path
    ) -> None:
        self.process = process
        self.url = f"{LOOPBACK}:{ports.grpc}"
        self.metrics_url = f"http://{LOOPBACK}:{ports.metrics}/metrics"
        self.control = ServerControl(self.url)
        self.stubs = StubWatch(process.pid, repository)
        self._ports = {ports.http, ports.grpc, ports.metrics}
        self._name = name
        self._prefix = prefix

    @classmethod
    async def launch(
        cls,
        *,
        installation: TritonInstallation,
        repository: Path,
        host_id: str,
        log: Path,
        telemetry: TelemetrySettings | None,
        ports: Ports,
    ) -> Self:
        """Starts the process, which reads the folder `repository`, and waits until it answers.

        No model is loaded yet.

        Raises:
            PortTaken: worth another try.
            ServerLost: it ended.
            StartupError: the log cannot be written, or the program not be started.
        """
        remove_orphans()
        name = f"{host_id}-{secrets.token_hex(4)}"
        prefix = new_prefix()
        command = server_command(
            installation=installation,
            model_repository=repository,
            ports=ports,
            server_id=name,
            shared_memory_prefix=prefix,
            telemetry=telemetry,
        )
        _make_log(log)
        try:
            process = await ServerProcess.spawn(command, installation.environment, log, prefix)
        except OSError as error:
            raise StartupError(f"triton.binary: cannot be started: {error}") from error
        server = cls(process, ports, name, prefix, repository)
        try:
            await server.while_running(server._answers())
        except BaseException:
            await server.discard()
            raise
        return server

    async def while_running(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits `work`, but no longer than the process lives.

        Raises:
            PortTaken: the process ended for want of a port.
            ServerLost: it ended otherwise.
        """
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self.process.exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if self.process.running:
            return task.result()
        if not task.cancelled():
            # Its error, if any, only shows that the server went away.
            task.exception()
        text = self.process.describe_exit()
        if self.process.exited.result() < 0:
            raise ServerLost(text)
        output = self.process.output()
        text += _ending(output)
        raise PortTaken(text) if "already in use" in output else ServerLost(text)

    async def ready_versions(self, timeout_s: float) -> frozenset[ModelVersion]:
        """The versions that are ready.

        Raises:
            ProbeFailed: no answer in time.
        """
        found = map(parse_served_name, await self.control.ready_models(timeout_s))
        return frozenset(version for version in found if version is not None)

    def dead_versions(self) -> frozenset[ModelVersion]:
        """Versions that lost a process since the last load; names each loss once."""
        found = map(parse_served_name, self.stubs.dead())
        return frozenset(version for version in found if version is not None)

    def paced_starts(self, share: float) -> AbstractContextManager[None]:
        """Gives processes that the server starts within the block this share of a core each."""
        return paced_starts(self._prefix, share)

    async def stop(self, patience_s: float) -> None:
        """Lets requests under way finish within `patience_s` seconds, then ends everything."""
        await self.process.stop(patience_s)
        await self.discard()

    async def discard(self) -> None:
        """Ends everything at once and removes what it leaves."""
        await self.process.kill()
        remove_regions(self._prefix)
        await self.control.close()

    async def _answers(self) -> None:
        """Waits until the server listens on all of its ports and answers.

        One that finds a port taken goes on answering on the others for a second before it ends.
        """
        while not self._ports <= self.process.listening_ports():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_NAME_PAUSE_S)
        while True:
            try:
                if await self.control.server_name(_NAME_TIMEOUT_S) == self._name:
                    return
            except ProbeFailed:
                pass
            await asyncio.sleep(_NAME_PAUSE_S)


def _make_log(log: Path) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError as error:
        raise StartupError(f"triton.log_folder: {log}: cannot be written: {error}") from error


def _ending(output: str) -> str:
    """The last lines of a log, tables left out."""
    lines = [line for line in output.splitlines() if line.strip() and line[0] not in "|+"]
    return "; its last lines: " + " / ".join(lines[-_LAST_LINES:]) if lines else ""

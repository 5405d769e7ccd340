"""One tritonserver, kept alive.

start ─▶ launch, load ─▶ READY ─▶ watch: probes, wanted versions ─▶ exited, or hung: killed
             ▲                                                          │
             └─────── pause, unless it is the first restart ◀─────── DOWN

leave: tell it (DOWN, "leaving") ─▶ wait until nothing is under way ─▶ stop
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from serving.errors import StartupError
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion, by_model
from serving.settings import TelemetrySettings, TritonSettings
from serving.triton.command import Ports, free_ports
from serving.triton.control import ProbeFailed
from serving.triton.installation import prepare_installation
from serving.triton.load import (
    HostLoad,
    LoadMeter,
    MetricsUnavailable,
    has_waiting,
    read_metrics,
    requests_seen,
)
from serving.triton.records import HostRecord, HostState, Publish, RecordPublisher
from serving.triton.residents import Residents, Wanted, newest
from serving.triton.served import served_name
from serving.triton.server import STOP_PATIENCE_S, PortTaken, Server, ServerLost

logger = logging.getLogger(__name__)

# Probes missed in a row: after so many the host is reported down, after more it is killed.
_MISSED_UNTIL_DOWN = 2
_MISSED_UNTIL_KILLED = 4
_SHORTEST_PROBE_TIMEOUT_S = 0.5
_PORT_ATTEMPTS = 5
_LONGEST_BACKOFF_S = 30.0
# A server that ran so long has earned a restart without a pause.
_STABLE_S = 30.0
# Failures in a row after which somebody else has to try.
_GIVE_UP_AFTER = 5
_LEAVING = "leaving"
_METRICS_TIMEOUT_S = 2.0
# A host that leaves is done when it finished nothing new for so long. Requests that take longer
# are waited for by the server itself.
_QUIET_S = 0.5
_QUIET_LOOK_S = 0.1
# Share of a leaving host's time in which it may wait for quiet; the rest is for its server's end.
_QUIET_SHARE = 0.6


class TritonHost:
    """Supervises one tritonserver; all methods are for one event loop."""

    def __init__(
        self,
        settings: TritonSettings,
        host_id: str,
        publish: Publish,
        telemetry: TelemetrySettings | None = None,
        *,
        wanted: Wanted | None = None,
        choose_ports: Callable[[], Ports] = free_ports,
    ) -> None:
        """Does nothing yet.

        Args:
            settings: program, models, periods.
            host_id: name in records and of the log file.
            publish: takes the record at each change and, every second, as a heartbeat.
            telemetry: where the server sends traces; None for nowhere.
            wanted: the versions to have loaded, asked time and again; None for the newest ones.
            choose_ports: called for each launch; other ports are tried when one is taken.
        """
        self._settings = settings
        self._choose_ports = choose_ports
        self._telemetry = telemetry
        models = ModelRepository(settings.model_repository.absolute())
        self._residents = Residents(
            settings, models, wanted or partial(newest, models, settings.models)
        )
        self._publisher = RecordPublisher(publish)
        self._record = HostRecord(host_id=host_id)
        self._meter = LoadMeter()
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._launch_failures = 0
        self._restarts_in_a_row = 0

    @property
    def record(self) -> HostRecord:
        """The host as it is now."""
        return self._record

    async def start(self) -> None:
        """Starts the server and returns once every model is ready.

        Raises:
            StartupError: program, backends or a model are unusable, or it took too long; names
                what is at fault. Nothing is left running.
        """
        self._publisher.tell(self._record)
        try:
            ready = await self._launch()
            if self._residents.faults:
                raise StartupError("; ".join(self._residents.faults.values()))
        except BaseException as error:
            self._go_down(error.message if isinstance(error, StartupError) else "not started")
            await self._discard_server()
            await self._publisher.close()
            raise
        self._tell_serving(ready)
        self._task = asyncio.create_task(self._supervise(), name=f"host-{self._record.host_id}")

    async def stop(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """Ends the server and everything that belongs to it; may be called again.

        Args:
            patience_s: seconds in which requests under way may finish; then all is killed.
        """
        await self._end_supervision()
        if self._record.state is not HostState.DOWN or self._record.detail == _LEAVING:
            self._go_down("stopped")
        if self._server is not None:
            await self._server.stop(patience_s)
            self._server = None
        await self._publisher.close()

    async def leave(self, patience_s: float) -> None:
        """Says so, lets what is under way finish, then stops; may be called again.

        Args:
            patience_s: seconds for all of it; then what is left is killed.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await self._end_supervision()
        if self._server is not None and self._record.state is HostState.READY:
            self._go_down(_LEAVING)
            try:
                async with asyncio.timeout(patience_s * _QUIET_SHARE):
                    await self._until_quiet(self._server)
            except TimeoutError:
                logger.warning("host %s leaves with requests under way", self._record.host_id)
            except (MetricsUnavailable, ServerLost) as error:
                logger.warning("host %s leaves unseen: %s", self._record.host_id, error)
        await self.stop(max(0.0, patience_s - (loop.time() - began_s)))

    async def load(self) -> HostLoad | None:
        """Load since the last call; None on the first one, while down, and after a restart."""
        url = self._record.metrics_url
        if not url:
            return None
        try:
            totals = await read_metrics(url, _METRICS_TIMEOUT_S)
        except MetricsUnavailable as error:
            logger.warning("host %s: %s", self._record.host_id, error)
            return None
        return self._meter.note(url, totals, asyncio.get_running_loop().time())

    def failure(self) -> str | None:
        """Why this host cannot be brought back; None while there is hope."""
        if self._task is not None and self._task.done():
            return f"supervision ended: {self._task.exception()!r}"
        if self._launch_failures >= _GIVE_UP_AFTER:
            return f"{self._launch_failures} starts in a row failed: {self._record.detail}"
        if self._residents.failures >= _GIVE_UP_AFTER and not self._record.ready_models:
            return f"no model can be loaded: {self._record.detail}"
        return None

    # ---- supervision -------------------------------------------------------------------------

    async def _end_supervision(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _until_quiet(self, server: Server) -> None:
        """Returns once no request waits and none has been finished for a while.

        Raises:
            MetricsUnavailable: it cannot be seen.
            ServerLost: it ended.
        """
        loop = asyncio.get_running_loop()
        seen = -1.0
        quiet_since_s = loop.time()
        while True:
            totals = await server.while_running(
                read_metrics(server.metrics_url, _METRICS_TIMEOUT_S)
            )
            now_s = loop.time()
            if has_waiting(totals) or requests_seen(totals) != seen:
                seen, quiet_since_s = requests_seen(totals), now_s
            elif now_s - quiet_since_s >= _QUIET_S:
                return
            await asyncio.sleep(_QUIET_LOOK_S)

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            assert self._server is not None
            began_s = loop.time()
            try:
                reason = await self._watch(self._server)
            except ServerLost as error:
                reason = str(error)
            logger.error("host %s: %s", self._record.host_id, reason)
            self._go_down(reason)
            await self._discard_server()
            if loop.time() - began_s > _STABLE_S:
                self._restarts_in_a_row = 0
            await self._bring_back()

    async def _watch(self, server: Server) -> str:
        """Looks after a running server until it hangs; returns how that showed.

        Raises:
            ServerLost: it ended.
        """
        loop = asyncio.get_running_loop()
        period_s = self._settings.probe_period_s
        timeout_s = max(period_s, _SHORTEST_PROBE_TIMEOUT_S)
        missed = 0
        next_s = loop.time()
        # Beside the probes: a load takes seconds, in which a server may hang.
        converging: asyncio.Task[None] | None = None
        try:
            while True:
                # A probe that ran into its timeout is repeated at once.
                next_s = max(next_s + period_s, loop.time())
                await asyncio.wait({server.process.exited}, timeout=next_s - loop.time())
                try:
                    if converging is not None and converging.done():
                        ended, converging = converging, None
                        ended.result()
                    ready = await server.while_running(server.ready_versions(timeout_s))
                    missed = 0
                    await self._residents.look(ready)
                    if converging is None:
                        ready -= await server.while_running(self._unload_dead(server, ready))
                        converging = asyncio.create_task(self._residents.converge(server, ready))
                    self._tell_serving(ready)
                except ProbeFailed as error:
                    missed += 1
                    if missed == _MISSED_UNTIL_DOWN:
                        self._go_down(f"does not answer: {error}")
                    if missed == _MISSED_UNTIL_KILLED:
                        return (
                            f"tritonserver (pid {server.process.pid}) hangs and is killed: {error}"
                        )
        finally:
            if converging is not None:
                converging.cancel()
                await asyncio.wait({converging})

    async def _unload_dead(
        self, server: Server, ready: frozenset[ModelVersion]
    ) -> frozenset[ModelVersion]:
        """Unloads and returns versions whose stub died, which their server still calls ready.

        Raises:
            ProbeFailed: the server does not answer.
        """
        dead = server.dead_versions() & ready
        for version in sorted(dead):
            logger.error("host %s: the process of model %s died", self._record.host_id, version)
        if dead:
            self._tell_serving(ready - dead)
        for version in dead:
            name = served_name(version)
            await server.control.unload(name, self._settings.start_timeout_s)
        return dead

    async def _bring_back(self) -> None:
        """Starts servers until one runs."""
        while True:
            if self._restarts_in_a_row:
                doublings = min(self._restarts_in_a_row - 1, 10)
                backoff_s = self._settings.restart_backoff_s * 2**doublings
                await asyncio.sleep(min(backoff_s, _LONGEST_BACKOFF_S))
            self._restarts_in_a_row += 1
            restarts = self._record.restarts + 1
            self._tell(replace(self._record, state=HostState.STARTING, restarts=restarts))
            try:
                self._tell_serving(await self._launch())
            except StartupError as error:
                self._launch_failures += 1
                logger.error("host %s: restart failed: %s", self._record.host_id, error.message)  # noqa: TRY400 - the text says it all
                self._go_down(error.message)
                await self._discard_server()
            else:
                self._launch_failures = 0
                return

    # ---- one server --------------------------------------------------------------------------

    async def _launch(self) -> frozenset[ModelVersion]:
        """Starts a server and loads what can be loaded; returns what is ready.

        Raises:
            StartupError: no server could be started in time.
        """
        settings = self._settings
        log = settings.log_folder.absolute() / f"{self._record.host_id}.log"
        self._residents.begin()
        try:
            async with asyncio.timeout(settings.start_timeout_s):
                installation = await asyncio.to_thread(prepare_installation, settings)
                await asyncio.to_thread(self._residents.served.prepare)
                for attempt in range(1, _PORT_ATTEMPTS + 1):
                    try:
                        self._server = server = await Server.launch(
                            installation=installation,
                            repository=self._residents.served.root,
                            host_id=self._record.host_id,
                            log=log,
                            telemetry=self._telemetry,
                            ports=self._choose_ports(),
                        )
                        return await server.while_running(self._load_first(server))
                    except PortTaken:
                        await self._discard_server()
                        if attempt == _PORT_ATTEMPTS:
                            raise
        except (ServerLost, ProbeFailed) as error:
            raise StartupError(
                f"triton.binary: {installation.binary}: {error}; see {log}"
            ) from error
        except TimeoutError as error:
            raise StartupError(
                f"triton.start_timeout_s: not ready within {settings.start_timeout_s:g} s; "
                f"see {log}"
            ) from error
        raise AssertionError("unreachable")

    async def _load_first(self, server: Server) -> frozenset[ModelVersion]:
        await self._residents.look(frozenset())
        await self._residents.converge(server, frozenset())
        return await server.ready_versions(self._settings.start_timeout_s)

    async def _discard_server(self) -> None:
        if self._server is not None:
            await self._server.discard()
            self._server = None

    # ---- what is told ------------------------------------------------------------------------

    def _tell_serving(self, ready: frozenset[ModelVersion]) -> None:
        assert self._server is not None
        shown = ready - self._residents.unasked
        self._tell(
            replace(
                self._record,
                state=HostState.READY if shown else HostState.STARTING,
                url=self._server.url,
                detail="; ".join(self._residents.faults.values()),
                ready_models=by_model(shown),
                faults=dict(self._residents.faults),
                apart=True,
                pid=self._server.process.pid,
                metrics_url=self._server.metrics_url,
            )
        )

    def _go_down(self, detail: str) -> None:
        self._tell(
            HostRecord(
                host_id=self._record.host_id,
                state=HostState.DOWN,
                restarts=self._record.restarts,
                detail=detail,
            )
        )

    def _tell(self, record: HostRecord) -> None:
        if record != self._record:
            self._record = record
            self._publisher.tell(record)

"""Which versions one server has loaded, and how it gets to those that it should have.

    wanted ─▶ missing ─▶ verify, offer, load (with its warm-up) ─▶ ready
         └──▶ no longer wanted ─▶ grace ─▶ withdrawn: told to nobody ─▶ unload

A load never touches the versions that answer already, and one that fails changes nothing for them.
While there are any, it takes its time: one instance after the other, each a little at a time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from serving.errors import StartupError, StoreUnavailable
from serving.models.repository import ModelRepository
from serving.models.verification import VerifiedModels
from serving.models.version import ModelVersion
from serving.settings import TritonSettings
from serving.triton.control import LoadRefused, ProbeFailed
from serving.triton.memory import free_bytes, memory_of, shortage
from serving.triton.served import ServedRepository, served_name
from serving.triton.server import Server

logger = logging.getLogger(__name__)

# By model, the versions that a host should have loaded. Blocking.
Wanted = Callable[[], Mapping[str, Sequence[int]]]

_LONGEST_BACKOFF_S = 30.0
# Looks after which everybody has heard that a version is withdrawn. Whoever wants it again until
# then finds it loaded; whoever does later finds that it is not ready, and waits.
_TOLD_AFTER = 2


def newest(models: ModelRepository, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The newest published version of each model; none for a model that is not published."""
    return {name: tuple(models.versions(name)[-1:]) for name in names}


class Residents:
    """Drives servers, one after the other, to the wanted versions. For one event loop."""

    def __init__(self, settings: TritonSettings, models: ModelRepository, wanted: Wanted) -> None:
        """Loads nothing yet.

        Args:
            settings: which models there are, and periods.
            models: what is published.
            wanted: asked before each pass; models that it leaves out are not loaded.
        """
        self._settings = settings
        self._models = models
        self._verified = VerifiedModels(models)
        self.served = ServedRepository(models, settings.cache_folder.absolute())
        self._wanted = wanted
        # Why a model or version ("understanding/4") cannot be served.
        self.faults: dict[str, str] = {}
        # Loads of each version that failed in a row, and when the next try is due.
        self._failed: dict[ModelVersion, tuple[int, float]] = {}
        self._last: frozenset[ModelVersion] = frozenset()
        self._unwanted_since_s: dict[ModelVersion, float] = {}
        # How many looks ago a version was withdrawn.
        self._withdrawn: dict[ModelVersion, int] = {}
        self._loading: frozenset[ModelVersion] = frozenset()

    @property
    def unasked(self) -> frozenset[ModelVersion]:
        """Versions that nobody should ask for, though the server may call them ready.

        Those that are about to be unloaded, and those whose instances have not all started.
        """
        return self._loading.union(self._withdrawn)

    @property
    def failures(self) -> int:
        """The most failures in a row that any version has had."""
        return max((count for count, _ in self._failed.values()), default=0)

    def begin(self) -> None:
        """A new server has nothing loaded, and everything is worth a try at once."""
        self._failed = {version: (count, 0.0) for version, (count, _) in self._failed.items()}
        self._unwanted_since_s.clear()
        self._withdrawn.clear()

    async def look(self, ready: frozenset[ModelVersion]) -> None:
        """Learns what is wanted now, and withdraws what has not been for a while."""
        await self._read_wanted()
        unwanted = ready - self._last
        now_s = asyncio.get_running_loop().time()
        self._withdrawn = {v: n + 1 for v, n in self._withdrawn.items() if v in unwanted}
        self._unwanted_since_s = {v: self._unwanted_since_s.get(v, now_s) for v in unwanted}
        for version, since_s in self._unwanted_since_s.items():
            if now_s - since_s >= self._settings.unload_after_s:
                self._withdrawn.setdefault(version, 0)

    async def converge(self, server: Server, ready: frozenset[ModelVersion]) -> None:
        """One pass after a look: loads what is missing, unloads what was withdrawn.

        What cannot be loaded is noted in `faults`, and tried again after a pause.

        Raises:
            ProbeFailed: the server does not answer.
        """
        await self._load(server, sorted(self._last - ready), ready)
        for version, looks in list(self._withdrawn.items()):
            if looks >= _TOLD_AFTER:
                logger.info("version %s is unloaded", version)
                await server.control.unload(served_name(version), self._settings.start_timeout_s)

    async def _read_wanted(self) -> None:
        names = self._settings.models
        try:
            found = await asyncio.to_thread(self._wanted)
        except StoreUnavailable as error:
            # What was wanted stays so: nothing is unloaded because somebody cannot be asked.
            logger.warning("which versions are wanted is not known: %s", error.message)
            return
        self._last = frozenset(
            ModelVersion(name, version) for name in names for version in found.get(name, ())
        )
        self._failed = {v: failed for v, failed in self._failed.items() if v in self._last}
        kept = {str(version) for version in self._failed}
        self.faults = {what: why for what, why in self.faults.items() if what in kept}
        for name in names:
            if not self._models.versions(name):
                self._note(name, self._models.missing(name).message)
            elif not found.get(name):
                self._note(name, f"model {name}: no version is live")

    async def _load(
        self, server: Server, missing: Sequence[ModelVersion], ready: frozenset[ModelVersion]
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        due = [v for v in missing if v not in self._failed or self._failed[v][1] <= now_s]
        if not due:
            return
        self._loading = frozenset(due)
        try:
            with server.paced_starts(self._settings.loading_share if ready else 1.0):
                outcomes = await asyncio.gather(
                    *(self._load_one(server, version, ready) for version in due),
                    return_exceptions=True,
                )
        finally:
            self._loading = frozenset()
        server.stubs.look()
        for version, outcome in zip(due, outcomes, strict=True):
            if outcome is None:
                self._failed.pop(version, None)
                self.faults.pop(str(version), None)
            elif isinstance(outcome, StartupError):
                self._note(str(version), outcome.message)
                self._put_off(version)
            else:
                raise outcome

    async def _load_one(
        self, server: Server, version: ModelVersion, ready: frozenset[ModelVersion]
    ) -> None:
        name = await asyncio.to_thread(self._prepare, version)
        loaded = [other for other in ready if other.model == version.model]
        if loaded:
            self._require_memory(server, version, loaded[0])
        timeout_s = self._settings.start_timeout_s
        configs = await asyncio.to_thread(self.served.growing_configs, name) if ready else [None]
        try:
            for config in configs:
                await server.control.load(name, timeout_s, config)
        except (LoadRefused, ProbeFailed) as error:
            if len(configs) > 1:
                # With some of its instances it would be taken for loaded.
                with contextlib.suppress(ProbeFailed):
                    await server.control.unload(name, timeout_s)
                    server.stubs.kill(name)
            if isinstance(error, ProbeFailed):
                raise
            raise StartupError(f"model {version}: Triton cannot load it: {error}") from error

    def _require_memory(self, server: Server, version: ModelVersion, like: ModelVersion) -> None:
        """Refuses a version that does not fit beside one of the same model.

        Raises:
            StartupError: there is too little memory; says how much.
        """
        taken = memory_of(server.stubs.processes(served_name(like)))
        sizes = [self._models.version(*v).manifest.served_bytes for v in (version, like)]
        needed = round(taken * sizes[0] / sizes[1]) if sizes[1] else taken
        short = shortage(needed, free_bytes(), self._settings.memory_reserve_mib * 2**20)
        if short is not None:
            raise StartupError(f"model {version}: not loaded: {short}")

    def _prepare(self, version: ModelVersion) -> str:
        self._verified.verify(version)
        return self.served.offer(version)

    def _put_off(self, version: ModelVersion) -> None:
        count = self._failed.get(version, (0, 0.0))[0] + 1
        pause_s = self._settings.restart_backoff_s * 2 ** min(count, 10)
        now_s = asyncio.get_running_loop().time()
        self._failed[version] = (count, now_s + min(pause_s, _LONGEST_BACKOFF_S))

    def _note(self, what: str, why: str) -> None:
        if self.faults.get(what) != why:
            logger.error("%s cannot be served: %s", what, why)
        self.faults[what] = why

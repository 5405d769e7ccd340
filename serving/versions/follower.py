"""Keeps a process at the versions that the line-ups want.

    store ─▶ changed? ─▶ open what is resident (files, in a thread) ─▶ tell the router
                    └──▶ close what has not been resident for a while

The store is looked at four times a second, which costs some microseconds as long as nothing has
changed. So every process knows of a step within a second, and one that was cut off or comes late
needs nobody to tell it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from serving.assets import ModelAssets, load_assets
from serving.errors import CartwrightError, StartupError, StoreUnavailable
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.versions.routing import Router
from serving.versions.store import Entry

logger = logging.getLogger(__name__)

PERIOD_S = 0.25
# Pause before the files of a version that could not be read are looked at again.
_RETRY_S = 2.0


class Opened(Protocol):
    """What versions are opened in; see `serving.assembly.ModelSteps`."""

    def opened(self) -> Mapping[ModelVersion, ModelAssets]:
        """The versions that are open."""
        ...

    def open(self, assets: ModelAssets) -> None:
        """Opens a version."""
        ...

    def close(self, version: ModelVersion) -> None:
        """Forgets a version."""
        ...


class VersionFollower:
    """Follows the line-ups of one process; belongs to its event loop."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, Entry] | None],
        models: ModelRepository,
        opened: Opened,
        router: Router,
        *,
        close_after_s: float,
    ) -> None:
        """Follows nothing before `start`.

        Args:
            read: the newest entry of each model, or None if they are as they were; quick.
            models: what is published.
            opened: gets the versions.
            router: gets the line-ups.
            close_after_s: how long a version stays open that is not resident any more; longer than
                any request takes.
        """
        self._read = read
        self._models = models
        self._opened = opened
        self._router = router
        self._close_after_s = close_after_s
        self._entries: Mapping[str, Entry] = {}
        # Why a version cannot be opened in this process.
        self.faults: dict[ModelVersion, str] = {}
        self._retry_at_s = 0.0
        self._unwanted_since_s: dict[ModelVersion, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens what is resident now, then follows.

        Raises:
            StartupError: a live version cannot be opened; names the file and the field.
            StoreUnavailable: the line-ups cannot be read.
        """
        self._entries = self._read() or {}
        await self._converge()
        for version, why in self.faults.items():
            if self._entries[version.model].lineup.live == version.version:
                raise StartupError(why)
        self._task = asyncio.create_task(self._follow(), name="follow-versions")

    async def close(self) -> None:
        """Stops following; what is open stays open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    def entries(self) -> Mapping[str, Entry]:
        """The newest entry of each model."""
        return self._entries

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                entries = self._read()
                if entries is not None:
                    self._entries = entries
                await self._converge()
            except StoreUnavailable as error:
                # The last line-ups stay in force.
                logger.warning("the line-ups cannot be read: %s", error.message)
            except Exception:
                # Whatever it is: this process must not stay at old versions for ever.
                logger.exception("the line-ups were not followed")

    async def _converge(self) -> None:
        now_s = asyncio.get_running_loop().time()
        wanted = {
            ModelVersion(model, version)
            for model, entry in self._entries.items()
            for version in entry.lineup.resident
        }
        opened = self._opened.opened()
        missing = sorted(wanted - opened.keys())
        if any(version not in self.faults for version in missing) or now_s >= self._retry_at_s:
            await self._open(missing)
            self._retry_at_s = now_s + _RETRY_S
        self.faults = {v: why for v, why in self.faults.items() if v in wanted}
        self._router.follow({model: entry.lineup for model, entry in self._entries.items()})
        unwanted = opened.keys() - wanted
        self._unwanted_since_s = {v: self._unwanted_since_s.get(v, now_s) for v in unwanted}
        for version, since_s in list(self._unwanted_since_s.items()):
            if now_s - since_s >= self._close_after_s:
                self._opened.close(version)

    async def _open(self, versions: list[ModelVersion]) -> None:
        for version in versions:
            try:
                published = self._models.version(*version)
                self._opened.open(await asyncio.to_thread(load_assets, published))
            except CartwrightError as error:
                if self.faults.get(version) != error.message:
                    logger.error("version %s cannot be opened: %s", version, error.message)  # noqa: TRY400 - the text says it all
                self.faults[version] = error.message
            else:
                self.faults.pop(version, None)

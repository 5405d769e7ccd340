"""What every replica that runs steps holds open: stores, the way to the hosts, steps.

registry (or URLs) ─▶ HostDirectory ─▶ TritonModelClient ─┐
line-ups ─▶ VersionFollower ─▶ Router, versions' files ───┴▶ steps ─▶ pipelines
"""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from serving.assembly import ModelSteps, Pipelines, build_pipelines
from serving.models.client import ModelClient
from serving.models.manifest import ModelManifest
from serving.models.memory import RememberingModels
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.recording.key import masking_key
from serving.recording.masking import Masker
from serving.recording.recorder import KEY_FILE
from serving.rollout.conductor import RolloutJudge
from serving.rollout.counts_file import FILE_NAME as COUNTS_FILE_NAME
from serving.rollout.counts_file import CountsFile, keep_writing
from serving.rollout.tally import Tally
from serving.settings import Settings
from serving.steps import encode, understand
from serving.steps.placement import Step
from serving.stores.sqlite_stores import SqliteStores, open_stores
from serving.telemetry.setup import configure_tracing, flush_tracing
from serving.triton.client import TritonModelClient
from serving.triton.discovery import Changes, HostDirectory, StaticHosts
from serving.versions.admin import ModelAdmin
from serving.versions.follower import VersionFollower
from serving.versions.readiness import Readiness
from serving.versions.routing import Router
from serving.versions.shadow import Shadows
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.watch import LineupWatch

_GARBAGE_THRESHOLDS = (20_000, 20, 50)
# Models that read nothing but a text.
TEXT_MODELS = (understand.MODEL, encode.MODEL)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """Everything that one process opened; `close` gives it back."""

    settings: Settings
    stores: SqliteStores
    directory: HostDirectory
    client: TritonModelClient
    router: Router
    models: ModelSteps
    versions: VersionFollower
    shadows: Shadows
    tally: Tally
    counts: CountsFile
    _opened: AsyncExitStack

    def pipelines(self, elsewhere: Mapping[str, Step[Any, Any]]) -> Pipelines:
        """The pipelines over this process's steps, but for those that are placed elsewhere."""
        steps = self.models.steps.placed(elsewhere)
        masker = Masker(masking_key(self.settings.stores.folder / KEY_FILE))
        return build_pipelines(self.settings, steps, self.stores, self._encoders, masker)

    def _encoders(self) -> tuple[int, ...]:
        """Versions of the encoder whose vectors the articles need, the live one first."""
        lineup = self.router.lineups().get(encode.MODEL)
        return () if lineup is None else lineup.resident

    def admin(self) -> ModelAdmin:
        """What shows and changes the line-ups."""
        return ModelAdmin(
            VersionStore(self.settings.stores.folder / FILE_NAME),
            ModelRepository(self.settings.triton.model_repository),
            self.settings.triton.models,
            Readiness(self.directory.records, lambda: self.versions.faults, self.models.opened),
            self.judge(),
            self.settings.versions.gates,
        )

    def judge(self) -> RolloutJudge:
        """What rollouts have shown so far."""
        return RolloutJudge(
            self.counts, self.stores.feedback.counts, self.settings.versions.rollout
        )

    async def close(self) -> None:
        """Ends the connections and closes the stores."""
        await self._opened.aclose()


class _Clients:
    """Clients of single versions, which remember answers if the settings want it."""

    def __init__(self, client: TritonModelClient, remembered_texts: int) -> None:
        self._client = client
        self._remembered_texts = remembered_texts

    def open(self, manifest: ModelManifest) -> ModelClient:
        """The client of one version."""
        client = self._client.open(manifest)
        if not self._remembered_texts:
            return client
        return RememberingModels(client, TEXT_MODELS, self._remembered_texts)

    def close_version(self, version: ModelVersion) -> None:
        """Ends it, and forgets what was remembered of it."""
        self._client.close_version(version)


async def open_replica(settings: Settings, role: str, registry: Changes) -> Replica:
    """Opens everything for a process.

    Args:
        settings: the whole tree.
        role: what this process is, for its traces.
        registry: where managed hosts are learnt from; unused when hosts are given as URLs.

    Raises:
        StartupError: models, shop or stores cannot be used; names the setting or the file.
    """
    configure_tracing(settings.telemetry, role)
    repository = ModelRepository(settings.triton.model_repository)
    async with AsyncExitStack() as opened:
        # Runs last: spans of what ends before it go out as well.
        opened.push_async_callback(asyncio.to_thread, flush_tracing)
        # The first replica of a new shop imports it, which takes seconds.
        stores = await asyncio.to_thread(open_stores, settings.stores)
        opened.callback(stores.close)
        if settings.triton.mode == "external":
            urls = StaticHosts(settings.triton.urls, probe_period_s=settings.triton.probe_period_s)
            registry = (await opened.enter_async_context(urls)).changes
        directory = await opened.enter_async_context(HostDirectory(registry))
        client = TritonModelClient(directory, settings.triton.coalescing)
        opened.push_async_callback(client.close)
        router = Router(lambda v: v in models.opened() and bool(directory.hosts_with(v)))
        tally = Tally(router.tried)
        counts = CountsFile(settings.stores.folder / COUNTS_FILE_NAME)
        shadows = Shadows(
            lambda: any(one.waiting for one in client.stats().values()),
            tally.shadowed,
            share=settings.versions.shadow_share,
        )
        shadows.start()
        opened.push_async_callback(shadows.close)
        models = ModelSteps(
            router, _Clients(client, settings.triton.remembered_texts), stores, shadows
        )
        watch = LineupWatch(VersionStore(settings.stores.folder / FILE_NAME).path)
        opened.callback(watch.close)
        versions = VersionFollower(
            watch.poll,
            repository,
            models,
            router,
            close_after_s=settings.triton.unload_after_s,
        )
        opened.push_async_callback(versions.close)
        await versions.start()
        writing = asyncio.create_task(keep_writing(tally.current, counts), name="counts")
        opened.callback(writing.cancel)
        # Read now, so that the first request does not pay for it.
        await models.steps.catalogue.current()
        # A request makes thousands of objects and hardly a cycle: looking for some after every 700,
        # as is the default, costs a twentieth of the process. Ray Serve freezes what is there now.
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        return Replica(
            settings=settings,
            stores=stores,
            directory=directory,
            client=client,
            router=router,
            models=models,
            versions=versions,
            shadows=shadows,
            tally=tally,
            counts=counts,
            _opened=opened.pop_all(),
        )
    raise AssertionError("the block above returns or raises")

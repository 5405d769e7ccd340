"""What every replica that runs steps holds open: stores, the way to the hosts, steps.

registry (or URLs) ─▶ HostDirectory ─▶ TritonModelClient ─▶ steps ─▶ pipelines
"""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from serving.assembly import Assets, Pipelines, Steps, build_pipelines, build_steps, load_assets
from serving.models.client import ModelClient
from serving.models.memory import RememberingModels
from serving.settings import Settings
from serving.steps import encode, understand
from serving.steps.placement import Step
from serving.stores.sqlite_stores import SqliteStores, open_stores
from serving.telemetry.setup import configure_tracing, flush_tracing
from serving.triton.client import TritonModelClient
from serving.triton.discovery import Changes, HostDirectory, StaticHosts

_GARBAGE_THRESHOLDS = (20_000, 20, 50)
# Models that read nothing but a text.
TEXT_MODELS = (understand.MODEL, encode.MODEL)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """Everything that one process opened; `close` gives it back."""

    settings: Settings
    assets: Assets
    stores: SqliteStores
    directory: HostDirectory
    client: TritonModelClient
    steps: Steps
    _opened: AsyncExitStack

    def pipelines(self, elsewhere: Mapping[str, Step[Any, Any]]) -> Pipelines:
        """The pipelines over this process's steps, but for those that are placed elsewhere."""
        return build_pipelines(
            self.settings, self.assets, self.steps.placed(elsewhere), self.stores
        )

    async def close(self) -> None:
        """Ends the connections and closes the stores."""
        await self._opened.aclose()


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
    assets = load_assets(settings)
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
        client = TritonModelClient(directory, assets.manifests, settings.triton.coalescing)
        opened.push_async_callback(client.close)
        models: ModelClient = client
        if settings.triton.remembered_texts:
            models = RememberingModels(client, TEXT_MODELS, settings.triton.remembered_texts)
        steps = build_steps(assets, models, stores)
        # Read now, so that the first request does not pay for it.
        await steps.catalogue.current()
        # A request makes thousands of objects and hardly a cycle: looking for some after every 700,
        # as is the default, costs a twentieth of the process. Ray Serve freezes what is there now.
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        return Replica(
            settings=settings,
            assets=assets,
            stores=stores,
            directory=directory,
            client=client,
            steps=steps,
            _opened=opened.pop_all(),
        )
    raise AssertionError("the block above returns or raises")

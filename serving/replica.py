"""What every replica that runs steps holds open: stores, the way to the hosts, steps.

    registry (or URLs) ─▶ HostDirectory ─▶ TritonModelClient ─▶ steps ─▶ pipelines
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.assembly import Assets, Pipelines, Steps, build_pipelines, build_steps, load_assets
from serving.settings import Settings
from serving.steps.placement import Step
from serving.stores.sqlite_stores import SqliteStores, open_stores
from serving.telemetry.setup import configure_tracing
from serving.triton.client import TritonModelClient
from serving.triton.discovery import HostDirectory, HostSource


@dataclass(frozen=True, kw_only=True)
class Replica:
    """Everything that one process opened; `close` gives it back."""

    settings: Settings
    assets: Assets
    stores: SqliteStores
    directory: HostDirectory
    client: TritonModelClient
    steps: Steps

    def pipelines(self, elsewhere: Mapping[str, Step[Any, Any]]) -> Pipelines:
        """The pipelines over this process's steps, but for those that are placed elsewhere."""
        return build_pipelines(
            self.settings, self.assets, self.steps.placed(elsewhere), self.stores
        )

    async def close(self) -> None:
        """Ends the connections and closes the stores."""
        await self.client.close()
        await self.directory.stop()
        self.stores.close()


async def open_replica(settings: Settings, role: str, source: HostSource) -> Replica:
    """Opens everything for a process.

    Args:
        settings: the whole tree.
        role: what this process is, for its traces.
        source: where the hosts are learnt from.

    Raises:
        StartupError: models, shop or stores cannot be used; names the setting or the file.
    """
    configure_tracing(settings.telemetry, role)
    assets = load_assets(settings)
    # The first replica of a new shop imports it, which takes seconds.
    stores = await asyncio.to_thread(open_stores, settings.stores)
    directory = HostDirectory(source)
    await directory.start()
    client = TritonModelClient(directory, assets.manifests)
    return Replica(
        settings=settings,
        assets=assets,
        stores=stores,
        directory=directory,
        client=client,
        steps=build_steps(assets, client, stores),
    )

"""Several versions of a model on one trial tritonserver, each a model of its own there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from model_build.promotion.held_out.evaluation import spec_of
from model_build.trial_server import launch_trial_server
from model_build.tune.requests import Body
from model_build.tune.trial_host import TrialHost
from serving.models.repository import PublishedVersion
from serving.settings import TritonSettings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A version and the requests for it."""

    version: PublishedVersion
    bodies: Sequence[Body]


@asynccontextmanager
async def open_hosts(
    settings: TritonSettings, scratch: Path, asked: Sequence[Asked]
) -> AsyncIterator[list[TrialHost]]:
    """Starts a server in the folder `scratch`, and ends it.

    Args:
        settings: where tritonserver is.
        scratch: an empty folder; the server's log and the temporary repository go there.
        asked: versions of one model, each number once; their files have been verified.

    Yields:
        A host for each version, in their order; nothing is loaded yet.

    Raises:
        StartupError: there is no tritonserver that can run here.
        ServerLost: the server ended.
    """
    models = scratch / "models"
    models.mkdir()
    async with AsyncExitStack() as opened:
        server = await launch_trial_server(settings, scratch, models, "gate")
        # Nothing is under way that could be lost, and a tidy end takes a second an instance.
        opened.push_async_callback(server.discard)
        hosts = []
        for one in asked:
            host = TrialHost(server, models, spec_of(one.version), one.version, one.bodies, 1.0)
            opened.push_async_callback(host.close)
            hosts.append(host)
        yield hosts

"""A tritonserver for trials: its own port, its own log, no model at first."""

import asyncio
from pathlib import Path

from serving.models.repository import ModelRepository
from serving.settings import TritonSettings
from serving.triton.command import free_ports
from serving.triton.installation import prepare_installation
from serving.triton.server import PortTaken, Server
from serving.triton.verification import VerifiedModels

_LAUNCHES = 5


async def launch_trial_server(
    settings: TritonSettings, scratch: Path, models: Path, purpose: str
) -> Server:
    """Starts a server; end it with `discard`.

    Args:
        settings: where tritonserver is.
        scratch: the log goes there.
        models: its model repository.
        purpose: names the server.

    Raises:
        StartupError: there is no tritonserver that can run here.
        ServerLost: it ended at once.
    """
    installation = await asyncio.to_thread(prepare_installation, settings)
    for attempt in range(_LAUNCHES):
        try:
            return await Server.launch(
                installation=installation,
                models=VerifiedModels(ModelRepository(models)),
                host_id=purpose,
                log=scratch / "tritonserver.log",
                telemetry=None,
                ports=free_ports(),
            )
        except PortTaken:
            if attempt == _LAUNCHES - 1:
                raise
    raise AssertionError("unreachable")

"""The real ingress behind a real grpc.aio server, without Ray Serve around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from serving.ingress import servicers
from serving.versions.admin import ModelAdmin
from tests.model_admin import model_admin


def no_admin(folder: Path) -> ModelAdmin:
    """An admin of no model, for what is not about models."""
    return model_admin(folder, folder, ())


@asynccontextmanager
async def serving_ingress(ingress: Any) -> AsyncIterator[str]:
    """Serves the ingress' methods on a free loopback port; yields host:port."""
    server = grpc.aio.server()
    for register in servicers.ALL:
        register(ingress, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)

"""`python loadtest/bench serve NAME`: the servers that a run starts for itself."""

import asyncio
from pathlib import Path

import click

from loadtest.bench import grpc_plain, machine, ray_server, triton_direct

_REPOSITORY = click.option("--repository", type=click.Path(path_type=Path), required=True)


@click.group(hidden=True)
def serve() -> None:
    """Servers that a run starts; each prints where it serves and ends on SIGTERM."""


@serve.command(triton_direct.NAME)
@_REPOSITORY
@click.option("--folder", type=click.Path(path_type=Path), required=True)
def triton(repository: Path, folder: Path) -> None:
    """Triton with the understanding model alone."""
    asyncio.run(triton_direct.serve(repository, folder))


@serve.command(grpc_plain.NAME)
@_REPOSITORY
def plain(repository: Path) -> None:
    """A grpc.aio server with ONNX Runtime in its process."""
    asyncio.run(grpc_plain.serve(repository, machine.cores()))


@serve.command(ray_server.DEFAULTS)
@_REPOSITORY
def ray_defaults(repository: Path) -> None:
    """Ray Serve as it comes, with ONNX Runtime in its replicas."""
    ray_server.serve_defaults(repository)


@serve.command(ray_server.ECHO)
def ray_echo() -> None:
    """An empty application behind the stack's own ingress."""
    ray_server.serve_echo()

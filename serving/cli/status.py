"""`cartwright status`: what runs, what is ready. Exit code 0 serving, 1 not, 3 unreachable."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from serving.cli.cluster import Deployment, read_deployments
from serving.cli.connection import HOST, Connection, with_connection
from serving.cli.document import plain, print_document
from serving.cli.render import stdout_console
from serving.cli.run_file import read_run_file
from serving.cli.tables import deployment_table, host_table, model_table
from serving.errors import DeadlineExceeded, Unavailable
from serving.protos import commerce_pb2 as pb

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What could be found out; `notes` say what could not, and why."""

    address: str
    # As grpc.health.v1 names it, or UNREACHABLE.
    health: str
    models: pb.ListModelsReply | None
    # None: unknown.
    deployments: list[Deployment] | None
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """For scripts and probes."""
        return {SERVING: 0, UNREACHABLE: 3}.get(self.health, 1)

    def document(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        listed = None if self.models is None else plain(self.models)
        return {
            "address": self.address,
            "health": self.health,
            "models": None if listed is None else listed["models"],
            "hosts": None if listed is None else listed["hosts"],
            "deployments": (
                None
                if self.deployments is None
                else [deployment.document() for deployment in self.deployments]
            ),
            "notes": list(self.notes),
        }


@click.command()
@with_connection
def status(connection: Connection) -> None:
    """Show deployments, replicas, model hosts, model versions and readiness."""
    found = read_status(connection)
    if connection.as_json:
        print_document(found.document())
    else:
        console = stdout_console()
        for part in _readable(found):
            console.print(part)
    click.get_current_context().exit(found.exit_code)


def read_status(connection: Connection) -> Status:
    """Asks the ingress, and Ray if its cluster was started in this folder."""
    notes: list[str] = []
    listed: pb.ListModelsReply | None = None
    with connection.client() as client:
        try:
            health = client.health(deadline_ms=connection.deadline_ms)
        except (Unavailable, DeadlineExceeded) as error:
            health = UNREACHABLE
            notes.append(f"ingress: {error.code.name}: {error.message}")
        else:
            try:
                listed = client.list_models(deadline_ms=connection.deadline_ms)
            except (Unavailable, DeadlineExceeded) as error:
                notes.append(f"models: {error.code.name}: {error.message}")
    deployments = _deployments(connection.address, notes)
    return Status(
        address=connection.address,
        health=health,
        models=listed,
        deployments=deployments,
        notes=tuple(notes),
    )


def _deployments(address: str, notes: list[str]) -> list[Deployment] | None:
    # Imported late: the help of this command needs no settings.
    from serving.settings import load_settings

    run = read_run_file(load_settings().server.run_file)
    if run is None:
        notes.append("deployments: unknown, no stack was started in this folder")
        return None
    if address != f"{HOST}:{run.grpc_port}":
        notes.append(f"deployments: unknown, the stack of this folder is {HOST}:{run.grpc_port}")
        return None
    try:
        return read_deployments(run.ray_address)
    except ConnectionError as error:
        notes.append(f"deployments: unknown, {error}")
        return None


def _readable(found: Status) -> Iterator[RenderableType]:
    colour = "green" if found.health == SERVING else "red"
    yield Text.assemble((found.health, f"bold {colour}"), f" at {found.address}")
    if found.deployments is not None:
        yield deployment_table(found.deployments)
    if found.models is not None:
        yield host_table(found.models.hosts)
        yield model_table(found.models.models)
    for note in found.notes:
        yield Text(f"note: {' '.join(note.split())}", style="yellow")

"""Options that every calling command takes: before or after its name, the nearer one wins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from serving.client import CommerceClient

HOST = "127.0.0.1"
DEFAULT_DEADLINE_MS = 5000.0
# In `click.Context.meta`, which all nested contexts of one run share.
JSON_KEY = "cartwright.json"

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Ingress to call. Default: the stack started in this folder, else the settings'.",
    ),
    click.option("--json", "as_json", is_flag=True, default=None, help="Print one JSON document."),
    click.option(
        "--deadline-ms",
        type=float,
        help=f"Time for each call in milliseconds. Default: {DEFAULT_DEADLINE_MS:.0f}.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to call, and how to print what comes back."""

    address: str
    as_json: bool
    deadline_ms: float

    def client(self) -> CommerceClient:
        """A client with one connection: a command makes one call at a time."""
        return CommerceClient(self.address, channels=1)

    def admin_client(self, versions: Mapping[str, int] | None = None) -> CommerceClient:
        """The same with the admin's token: to change models, or to ask certain versions of them.

        Raises:
            StartupError: the run file or the settings cannot be read.
        """
        return CommerceClient(self.address, channels=1, token=_admin_token(), versions=versions)


def connection_options(command: Command) -> Command:
    """Adds --address, --json and --deadline-ms; for groups, which only remember them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands the command a `Connection` as its first argument."""

    @wraps(command)
    def connected(
        address: str | None, as_json: bool | None, deadline_ms: float | None, **arguments: Any
    ) -> Any:
        context = click.get_current_context()
        outer = _outer_parameters(context)
        wants_json = bool(as_json if as_json is not None else outer.get("as_json"))
        context.meta[JSON_KEY] = wants_json
        connection = Connection(
            address=address or outer.get("address") or default_address(),
            as_json=wants_json,
            deadline_ms=_first(deadline_ms, outer.get("deadline_ms"), DEFAULT_DEADLINE_MS),
        )
        return command(connection, **arguments)

    return connection_options(connected)


def default_address() -> str:
    """The ingress of the stack that runs in this folder, else the one of the settings.

    Raises:
        StartupError: the run file or the settings cannot be read.
    """
    # Imported late: an explicit address needs no settings, and they take a while to load.
    from serving.cli.run_file import read_run_file
    from serving.settings import load_settings

    server = load_settings().server
    run = read_run_file(server.run_file)
    return f"{HOST}:{server.grpc_port if run is None else run.grpc_port}"


def _admin_token() -> str:
    """The one of the settings, else of the stack that runs in this folder; "" for none."""
    from serving.cli.run_file import read_run_file
    from serving.settings import load_settings

    server = load_settings().server
    run = None if server.token() else read_run_file(server.run_file)
    return server.token() if run is None else run.admin_token


def _outer_parameters(context: click.Context) -> dict[str, Any]:
    """Options given to the groups around the command, the innermost group's first."""
    found: dict[str, Any] = {}
    outer = context.parent
    while outer is not None:
        for name, value in outer.params.items():
            if value is not None:
                found.setdefault(name, value)
        outer = outer.parent
    return found


def _first(*values: float | None) -> float:
    """The first that was given; 0 counts as given (and is refused by the client)."""
    return next(value for value in values if value is not None)

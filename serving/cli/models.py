"""`cartwright models`: what serves and what should; packages add commands such as `build`."""

import click

from serving.cli.connection import Connection, connection_options, with_connection
from serving.cli.document import plain, print_document
from serving.cli.lazy import ExtensibleGroup, LazyCommand

ENTRY_POINT_GROUP = "cartwright.models_commands"


COMMANDS = {
    name: LazyCommand(f"serving.cli.versions:{name}", summary)
    for name, summary in {
        "show": "Every version of a model, and where it is ready.",
        "stage": "Make a published version known.",
        "shadow": "Load a version beside the live one.",
        "canary": "Let a version answer some customers.",
        "promote": "Let a version answer everybody.",
        "rollback": "Withdraw the candidate, or go back to the previous version.",
        "release": "Unload the previous version.",
        "history": "Steps that were taken with a model.",
    }.items()
}
COMMANDS["traffic"] = LazyCommand("serving.cli.traffic:traffic", "Which versions answered calls.")
COMMANDS["diff"] = LazyCommand("serving.cli.version_diff:diff", "How two versions differ.")


@click.group(cls=ExtensibleGroup, entry_point_group=ENTRY_POINT_GROUP, lazy_commands=COMMANDS)
@connection_options
def models(**_options: object) -> None:
    """Build, list and promote models."""


@models.command("list")
@with_connection
def list_models(connection: Connection) -> None:
    """List the model versions that serve, and their hosts."""
    with connection.client() as client:
        reply = client.list_models(deadline_ms=connection.deadline_ms)
    if connection.as_json:
        print_document(plain(reply))
        return
    # Imported late: `models build` needs neither.
    from serving.cli.render import stdout_console
    from serving.cli.tables import host_table, model_table

    console = stdout_console()
    console.print(model_table(reply.models))
    console.print(host_table(reply.hosts))

"""`cartwright`: the command line. Thin: parses, calls, prints.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or settings; 3 cannot be reached now.
"""

from typing import Any

import click

from serving.cli.connection import JSON_KEY, connection_options
from serving.cli.lazy import ExtensibleGroup, LazyCommand
from serving.errors import CartwrightError, Overloaded, StartupError, Unavailable

EXIT_FAILED = 1
EXIT_UNREACHABLE = 3

ENTRY_POINT_GROUP = "cartwright.commands"
COMMANDS = {
    "demo": LazyCommand("serving.cli.demo:demo", "Start, converse, break, recover, stop."),
    "serve": LazyCommand("serving.cli.serve:serve", "Run the whole stack on this machine."),
    "ask": LazyCommand("serving.cli.ask:ask", "Take one turn of a conversation."),
    "recommend": LazyCommand("serving.cli.recommend:recommend", "Products for a customer."),
    "feedback": LazyCommand("serving.cli.feedback:feedback", "Rate a reply."),
    "status": LazyCommand("serving.cli.status:status", "Deployments, hosts, models, readiness."),
    "autoscale": LazyCommand("serving.cli.autoscale:autoscale", "Replay decisions of scaling."),
    "models": LazyCommand("serving.cli.models:models", "Build, list and promote models."),
    "ledger": LazyCommand("serving.cli.ledger:ledger", "Which version answered which request."),
}


class _CartwrightGroup(ExtensibleGroup):
    """Turns an error of the tree into one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except CartwrightError as error:
            if ctx.meta.get(JSON_KEY):
                from serving.cli.document import print_document

                print_document({"error": _error_document(error)})
            click.echo(f"error: {_error_line(error)}", err=True)
            ctx.exit(_exit_code(error))


@click.group(cls=_CartwrightGroup, lazy_commands=COMMANDS, entry_point_group=ENTRY_POINT_GROUP)
@connection_options
@click.version_option(package_name="cartwright")
def cartwright(**_options: object) -> None:
    """The serving stack behind a shop's AI agent."""


def main() -> None:
    """The console script."""
    cartwright(prog_name="cartwright")


def _exit_code(error: CartwrightError) -> int:
    if isinstance(error, StartupError):
        return error.exit_code
    return EXIT_UNREACHABLE if isinstance(error, Unavailable) else EXIT_FAILED


def _error_document(error: CartwrightError) -> dict[str, Any]:
    document: dict[str, Any] = {
        "code": _code(error),
        "message": error.message,
        "trace_id": error.trace_id,
        "error_id": error.error_id,
    }
    if isinstance(error, Overloaded):
        document["retry_after_ms"] = error.retry_after_ms
    return document


def _error_line(error: CartwrightError) -> str:
    # One line, whatever a server put into its text.
    line = f"{_code(error)}: {' '.join(error.message.split())}"
    if isinstance(error, Overloaded):
        line += f" (retry after {error.retry_after_ms} ms)"
    if error.error_id:
        line += f" (error id {error.error_id})"
    if error.trace_id:
        line += f" (trace {error.trace_id})"
    return line


def _code(error: CartwrightError) -> str:
    return "STARTUP" if isinstance(error, StartupError) else error.code.name


if __name__ == "__main__":
    main()

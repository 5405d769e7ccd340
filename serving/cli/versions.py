"""`cartwright models show | stage | shadow | canary | promote | rollback | release | history`."""

import getpass
from collections.abc import Callable
from typing import Any

import click

from serving.cli.connection import Connection, with_connection
from serving.cli.document import plain, print_document
from serving.cli.render import stdout_console
from serving.cli.version_steps import VersionSteps
from serving.cli.version_tables import rollout_table, steps_table, versions_table
from serving.protos import commerce_pb2 as pb


def _step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who takes a step, and why."""
    command = click.option("--reason", required=True, help="Why; kept in the history for ever.")(
        command
    )
    return click.option(
        "--author", default=getpass.getuser, show_default="you", help="Who takes the step."
    )(command)


_WAIT = click.option(
    "--timeout-s",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="How long every host may take to load the version.",
)
_FORCE = click.option(
    "--force", is_flag=True, help="Although it is not ready everywhere; the history keeps that."
)


@click.command("show")
@click.argument("model")
@with_connection
def show(connection: Connection, model: str) -> None:
    """Show every version of MODEL: what it is for, where it is ready, why it is not."""
    with connection.admin_client() as client:
        reply = client.show_model(model, deadline_ms=connection.deadline_ms)
    _print(connection, reply)


@click.command("stage")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@_step_options
@with_connection
def stage(connection: Connection, model: str, version: int, author: str, reason: str) -> None:
    """Make a published VERSION known: its files are checked, nothing is loaded."""
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        _print(connection, steps.take("stage", version))


@click.command("shadow")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@_step_options
@_WAIT
@with_connection
def shadow(
    connection: Connection, model: str, version: int, author: str, reason: str, timeout_s: float
) -> None:
    """Load VERSION on every host, beside the live one; it answers nobody."""
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        steps.load(version, timeout_s)
        _print(connection, steps.state)


@click.command("canary")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@click.argument("percent", type=click.FloatRange(0, 100, min_open=True, max_open=True))
@_step_options
@_WAIT
@_FORCE
@with_connection
def canary(
    connection: Connection,
    model: str,
    version: int,
    percent: float,
    author: str,
    reason: str,
    timeout_s: float,
    force: bool,
) -> None:
    """Let VERSION answer PERCENT of the customers, once it is ready on every host."""
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        steps.load(version, timeout_s)
        _print(connection, steps.take("canary", version, percent=percent, force=force))


@click.command("promote")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@_step_options
@_WAIT
@_FORCE
@click.option(
    "--auto",
    is_flag=True,
    help="As a shadow first, then to growing shares of the customers, each judged by what they "
    "get; withdrawn by itself if that is worse.",
)
@click.option("--detach", is_flag=True, help="With --auto: begin it and return.")
@with_connection
def promote(
    connection: Connection,
    model: str,
    version: int,
    author: str,
    reason: str,
    timeout_s: float,
    force: bool,
    auto: bool,
    detach: bool,
) -> None:
    """Let VERSION answer everybody, once it is ready on every host."""
    if detach and not auto:
        raise click.UsageError("--detach: only with --auto")
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        if auto:
            _print(connection, steps.roll_out(version, force=force, follow=not detach))
            return
        steps.load(version, timeout_s)
        _print(connection, steps.take("promote", version, force=force))


@click.command("rollback")
@click.argument("model")
@_step_options
@_FORCE
@with_connection
def rollback(connection: Connection, model: str, author: str, reason: str, force: bool) -> None:
    """Withdraw the candidate; without one, go back to the previous version."""
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        _print(connection, steps.take("rollback", 0, force=force))


@click.command("release")
@click.argument("model")
@_step_options
@with_connection
def release(connection: Connection, model: str, author: str, reason: str) -> None:
    """Unload the previous version."""
    with connection.admin_client() as client:
        steps = VersionSteps(connection, client, model, author, reason)
        _print(connection, steps.take("release", 0))


@click.command("history")
@click.argument("model")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@with_connection
def history(connection: Connection, model: str, limit: int) -> None:
    """Show the last steps that were taken with MODEL, by whom and why."""
    with connection.admin_client() as client:
        reply = client.list_model_steps(model, limit=limit, deadline_ms=connection.deadline_ms)
    if connection.as_json:
        print_document(plain(reply))
        return
    stdout_console().print(steps_table(reply.steps))


def _print(connection: Connection, reply: pb.ShowModelReply) -> None:
    if connection.as_json:
        print_document(plain(reply))
        return
    console = stdout_console()
    console.print(versions_table(reply))
    if reply.HasField("rollout"):
        console.print(rollout_table(reply.rollout))
    if reply.HasField("last_step"):
        console.print(steps_table([reply.last_step]))

"""`cartwright models show | stage | shadow | canary | promote | rollback | release | history`."""

import getpass
import textwrap
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from serving.cli.connection import Connection, with_connection
from serving.cli.document import plain, print_document
from serving.cli.render import stdout_console
from serving.cli.rollout import follow_rollout
from serving.cli.version_tables import rollout_table, steps_table, versions_table
from serving.client import CommerceClient
from serving.errors import Conflict, FailedPrecondition
from serving.protos import commerce_pb2 as pb
from serving.versions.lineup import MAX_TEXT

_LOOK_PERIOD_S = 0.2
_INTERRUPTED = 130
# Stages in which hosts have a version loaded.
_RESIDENT = frozenset({"shadow", "canary", "live", "previous"})
_TRIED = frozenset({"shadow", "canary"})


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
        steps = _Steps(connection, client, model, author, reason)
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
        steps = _Steps(connection, client, model, author, reason)
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
        steps = _Steps(connection, client, model, author, reason)
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
        steps = _Steps(connection, client, model, author, reason)
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
        steps = _Steps(connection, client, model, author, reason)
        _print(connection, steps.take("rollback", 0, force=force))


@click.command("release")
@click.argument("model")
@_step_options
@with_connection
def release(connection: Connection, model: str, author: str, reason: str) -> None:
    """Unload the previous version."""
    with connection.admin_client() as client:
        steps = _Steps(connection, client, model, author, reason)
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


class _Steps:
    """Takes steps with one model, each upon what the last reply showed."""

    def __init__(
        self, connection: Connection, client: CommerceClient, model: str, author: str, reason: str
    ) -> None:
        self._connection = connection
        self._client = client
        self._model = model
        self._author = author
        self._reason = reason
        self._progress = Console(stderr=True, highlight=False)
        self.state = self._look()

    def take(
        self, action: str, version: int, *, percent: float = 0.0, force: bool = False
    ) -> pb.ShowModelReply:
        """Takes one step; somebody else's in between is a conflict."""
        self.state = self._client.change_model(
            self._model,
            action,
            version=version,
            canary_percent=percent,
            author=self._author,
            reason=self._reason,
            expected_revision=self.state.revision,
            force=force,
            deadline_ms=self._connection.deadline_ms,
        )
        return self.state

    def load(self, version: int, timeout_s: float) -> None:
        """Has every host load a version, and waits for that.

        One that cannot be loaded is withdrawn again: nobody was answered by it.

        Raises:
            FailedPrecondition: a host cannot load it, with Triton's reason; or it took too long; or
                another one is being tried.
            Conflict: somebody took a step with it meanwhile; names who.
        """
        began_s = time.monotonic()
        self._require_nothing_else_is_tried(version)
        withdraw = self._stage_of(version) not in _RESIDENT
        if self._stage_of(version) == "published":
            self.take("stage", version)
        if withdraw:
            self.take("shadow", version)
            self._progress.print(f"{self._model}: version {version} is loaded on every host …")
        stage = self._stage_of(version)
        while True:
            status = self._status(version)
            if status.stage != stage:
                # Loaded or not: whether to promote or to withdraw it is not ours to say any more.
                raise Conflict(
                    f"{self._model}: version {version} is {status.stage} now, and not {stage}: "
                    f"{self._last_step()}"
                )
            waiting = set(self.state.serving_host_ids) - set(status.ready_host_ids)
            ready = bool(self.state.serving_host_ids) and not waiting and status.open
            if ready and not status.faults:
                if withdraw:
                    self._progress.print(f"ready after {time.monotonic() - began_s:.1f} s")
                return
            why = "; ".join(f"{where}: {fault}" for where, fault in sorted(status.faults.items()))
            if why or time.monotonic() - began_s > timeout_s:
                if withdraw:
                    reason = f"{self._reason} (withdrawn: {why or 'not ready in time'})"
                    self._reason = textwrap.shorten(reason, MAX_TEXT, placeholder=" …")
                    self.take("rollback", 0)
                where = ", ".join(sorted(waiting)) or "the replica"
                late = f"not ready on {where} within {timeout_s:g} s"
                raise FailedPrecondition(f"{self._model}: version {version}: {why or late}")
            time.sleep(_LOOK_PERIOD_S)
            self.state = self._look()

    def roll_out(self, version: int, *, force: bool, follow: bool) -> pb.ShowModelReply:
        """Begins a rollout, which the stack goes on with, and follows it to its end.

        Raises:
            FailedPrecondition: the version was withdrawn, or somebody took another step.
        """
        self._require_nothing_else_is_tried(version)
        if self._stage_of(version) == "published":
            self.take("stage", version)
        self.take("roll out", version, force=force)
        if follow:
            try:
                self.state = follow_rollout(self._look, version, self._progress)
            except KeyboardInterrupt:
                self._progress.print(
                    f"the stack goes on with it: `cartwright models show {self._model}` tells how "
                    f"it stands, `cartwright models rollback {self._model}` ends it"
                )
                raise SystemExit(_INTERRUPTED) from None
        return self.state

    def _require_nothing_else_is_tried(self, version: int) -> None:
        """So that nobody who is late anyway takes a first step, upon which others would stumble."""
        for status in self.state.versions:
            if status.stage in _TRIED and status.version != version:
                raise FailedPrecondition(
                    f"{self._model}: version {status.version} is being tried: withdraw it first; "
                    f"the last step: {self._last_step()}"
                )

    def _last_step(self) -> str:
        last = self.state.last_step
        return f"{last.author} did {last.action!r}"

    def _look(self) -> pb.ShowModelReply:
        return self._client.show_model(self._model, deadline_ms=self._connection.deadline_ms)

    def _status(self, version: int) -> pb.VersionStatus:
        found = [status for status in self.state.versions if status.version == version]
        if not found:
            raise FailedPrecondition(f"{self._model}: version {version} is not published")
        return found[0]

    def _stage_of(self, version: int) -> str:
        return self._status(version).stage


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

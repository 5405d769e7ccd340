"""`cartwright autoscale replay`: a recorded trace through the rules of scaling, offline."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from serving.cli.connection import JSON_KEY
from serving.cli.document import print_document
from serving.errors import StartupError
from serving.scaling.decide import Action
from serving.scaling.replay import Replayed, replay
from serving.scaling.trace import Entry, read_entries


@click.group()
def autoscale() -> None:
    """Look at decisions of autoscaling."""


@autoscale.command("replay")
@click.argument("metrics", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings; CARTWRIGHT_CONFIG names one as well.",
)
@click.option("--deployment", help="Only this one of the trace's deployments.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw the replay into this file.")
@click.option("--all", "show_all", is_flag=True, help="Every moment, not only what changes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def replay_command(
    context: click.Context,
    metrics: tuple[Path, ...],
    config: Path | None,
    deployment: str | None,
    png: Path | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Run the trace in the files METRICS through the rules, with the present settings.

    A trace is JSON lines; the logs of decisions in `scaling.log_folder` are traces.
    """
    # Imported late: the help of this command needs no settings.
    from serving.scaling.rules import rules_of
    from serving.settings import load_settings

    root = context.find_root()
    as_json = as_json or bool(root.params.get("as_json"))
    context.meta[JSON_KEY] = as_json
    settings = load_settings(config)
    entries = _entries(metrics, deployment)
    replayed = list(replay(entries, lambda name, kind: rules_of(name, kind, settings)))
    if as_json:
        print_document({"moments": [_document(moment) for moment in replayed]})
    else:
        _print_table(replayed, show_all=show_all)
    if png is not None:
        from serving.scaling.plot import draw

        draw(replayed, png)
        if not as_json:
            click.echo(f"drawn into {png}")


def _entries(paths: Sequence[Path], deployment: str | None) -> list[Entry]:
    """Entries of all files in the order of time.

    Raises:
        StartupError: a file cannot be read, a line is no entry, or nothing is left.
    """
    entries: list[Entry] = []
    for path in paths:
        try:
            with path.open(encoding="utf-8") as lines:
                entries.extend(read_entries(lines, str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"{path}: cannot be read: {error}") from error
    names = sorted({entry.deployment for entry in entries})
    if deployment is not None:
        entries = [entry for entry in entries if entry.deployment == deployment]
    if not entries:
        wanted = "" if deployment is None else f" of {deployment} (there are {names})"
        raise StartupError(f"{', '.join(map(str, paths))}: there is no entry{wanted}")
    return sorted(entries, key=lambda entry: entry.seen.time_s)


def _print_table(replayed: Sequence[Replayed], *, show_all: bool) -> None:
    # Imported late: JSON needs neither.
    from rich.table import Table
    from rich.text import Text

    from serving.cli.render import stdout_console

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("time", "deployment", "from", "to", "recorded", "reason", "inputs"):
        table.add_column(column)
    shown = list(replayed) if show_all else list(_news(replayed))
    for moment in shown:
        decision = moment.decision
        colour = {Action.UP: "yellow", Action.DOWN: "green"}.get(decision.action, "")
        table.add_row(
            Text(datetime.fromtimestamp(moment.seen.time_s, UTC).strftime("%H:%M:%S")),
            Text(moment.deployment),
            str(moment.seen.target),
            Text(str(decision.target), style=colour),
            str(moment.recorded_target),
            Text(decision.reason.value),
            Text(decision.text),
        )
    console = stdout_console()
    console.print(table)
    changes = sum(moment.decision.action is not Action.HOLD for moment in replayed)
    console.print(Text(f"{len(replayed)} moments, {changes} changes"))


def _news(replayed: Sequence[Replayed]) -> Iterator[Replayed]:
    """Moments at which something else was decided, or for another reason, than before."""
    last: dict[str, tuple[Any, ...]] = {}
    for moment in replayed:
        decision = moment.decision
        now = (decision.action, decision.target, decision.reason)
        if last.get(moment.deployment) != now:
            yield moment
        last[moment.deployment] = now


def _document(moment: Replayed) -> dict[str, Any]:
    decision = moment.decision
    return {
        "time": moment.seen.time_s,
        "deployment": moment.deployment,
        "kind": moment.kind,
        "running": moment.seen.running,
        "from": moment.seen.target,
        "to": decision.target,
        "recorded": moment.recorded_target,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "text": decision.text,
        "pressure": decision.pressure,
    }

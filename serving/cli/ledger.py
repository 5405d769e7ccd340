"""`cartwright ledger`: which version, artifact, arm and settings answered which request."""

import dataclasses
import heapq
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from serving.cli.document import print_document
from serving.cli.lazy import LazyCommand, LazyGroup
from serving.cli.ledger_options import ledger_options, opened
from serving.cli.moments import moment_ms, utc
from serving.errors import InvalidRequest, NotFound
from serving.ledger.contents import Damage
from serving.ledger.entry import Entry
from serving.ledger.marks import Loss
from serving.ledger.reader import LedgerReader

COMMANDS = {
    "what-if": LazyCommand(
        "serving.cli.ledger_what_if:what_if_command", "Show what another version would answer."
    )
}


@click.group(cls=LazyGroup, lazy_commands=COMMANDS)
def ledger() -> None:
    """Look up which version answered which request.

    Reads the ledger's folder on this machine, whether the stack runs or not.
    """


@ledger.command("show", short_help="Show what answered a request.")
@click.argument("request")
@ledger_options
def show_command(request: str, folder: Path | None, config: Path | None, as_json: bool) -> None:
    """Show what answered REQUEST, the trace id in its reply (32 hex digits)."""
    reader, as_json = opened(folder, config, as_json)
    found = reader.find(request)
    if not found:
        since_ms = reader.since_ms()
        reach = "is empty" if since_ms is None else f"reaches back to {utc(since_ms)} UTC"
        raise NotFound(f"request {request}: no entry of it; the ledger {reach}")
    entries = [one for one in found if isinstance(one, Entry)]
    damages = [one for one in found if isinstance(one, Damage)]
    if as_json:
        print_document(
            {
                "request": request,
                "answers": [
                    {
                        **_entry_document(entry),
                        "settings_document": _settings_document(reader, entry.settings),
                    }
                    for entry in entries
                ],
                "damages": [dataclasses.asdict(damage) for damage in damages],
            }
        )
        return
    # Imported late: JSON needs neither.
    from serving.cli.ledger_tables import answer_facts, damage_notes
    from serving.cli.render import stdout_console

    console = stdout_console()
    for entry in entries:
        for part in answer_facts(entry):
            console.print(part)
    for note in damage_notes(damages):
        console.print(note)


@dataclass
class _Listed:
    """What of a span of time is shown."""

    # The latest ones, as a heap of (time, number, entry).
    latest: list[tuple[int, int, Entry]] = field(default_factory=list)
    matching: int = 0
    losses: list[Loss] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The latest ones in the order of time."""
        return [entry for _, _, entry in sorted(self.latest)]


@ledger.command("list")
@click.option(
    "--since",
    default="10m",
    show_default=True,
    help="So long ago (90s, 10m, 2h, 1d), or a time such as 2026-01-31T12:00, in UTC.",
)
@click.option("--until", help="The same; now by default.")
@click.option("--model", help="Only calls in which this model had a part.")
@click.option("--version", type=click.IntRange(min=1), help="Only this version of --model.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The latest so many."
)
@ledger_options
def list_command(
    since: str,
    until: str | None,
    model: str | None,
    version: int | None,
    limit: int,
    folder: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List answered calls, the latest last."""
    reader, as_json = opened(folder, config, as_json)
    if version is not None and model is None:
        raise InvalidRequest("--version", "needs --model")
    now_s = time.time()
    since_ms = moment_ms("--since", since, now_s)
    until_ms = round(now_s * 1000) if until is None else moment_ms("--until", until, now_s)
    if until_ms <= since_ms:
        raise InvalidRequest("--until", f"{until} is not after --since {since}")
    listed = _listed(reader, since_ms, until_ms, model, version, limit)
    if as_json:
        print_document(
            {
                "since_ms": since_ms,
                "until_ms": until_ms,
                "matching": listed.matching,
                "entries": [_entry_document(entry) for entry in listed.entries],
                "losses": [dataclasses.asdict(loss) for loss in listed.losses],
                "damages": [dataclasses.asdict(damage) for damage in listed.damages],
            }
        )
        return
    from rich.text import Text

    from serving.cli.ledger_tables import damage_notes, entry_table, loss_notes
    from serving.cli.render import stdout_console

    console = stdout_console()
    console.print(entry_table(listed.entries))
    console.print(Text(f"{len(listed.latest)} of {listed.matching} calls"))
    for note in (*loss_notes(listed.losses), *damage_notes(listed.damages)):
        console.print(note)


@ledger.command("verify")
@ledger_options
@click.pass_context
def verify_command(
    context: click.Context, folder: Path | None, config: Path | None, as_json: bool
) -> None:
    """Check every record of every segment. Exit code 0 all sound, 1 something is damaged."""
    reader, as_json = opened(folder, config, as_json)
    reports = list(reader.verify())
    sound = all(report.sound for report in reports)
    if as_json:
        print_document(
            {
                "sound": sound,
                "segments": [
                    {**dataclasses.asdict(report), "sound": report.sound} for report in reports
                ],
            }
        )
    else:
        from rich.text import Text

        from serving.cli.ledger_tables import damage_notes, loss_notes, segment_table
        from serving.cli.render import stdout_console

        console = stdout_console()
        console.print(segment_table(reports))
        for report in reports:
            for note in (*loss_notes(report.losses), *damage_notes(report.damages)):
                console.print(note)
        entries = sum(report.entries for report in reports)
        console.print(
            Text(
                f"{entries} entries, all sound" if sound else "damaged", "green" if sound else "red"
            )
        )
    context.exit(0 if sound else 1)


def _listed(
    reader: LedgerReader,
    since_ms: int,
    until_ms: int,
    model: str | None,
    version: int | None,
    limit: int,
) -> _Listed:
    listed = _Listed()
    for line in reader.read(since_ms, until_ms):
        match line:
            case Entry():
                if model is not None and not _took_part(line, model, version):
                    continue
                listed.matching += 1
                heapq.heappush(listed.latest, (line.at_ms, listed.matching, line))
                if len(listed.latest) > limit:
                    heapq.heappop(listed.latest)
            case Loss():
                listed.losses.append(line)
            case Damage():
                listed.damages.append(line)
    return listed


def _took_part(entry: Entry, model: str, version: int | None) -> bool:
    return any(
        use.model == model and (version is None or use.version == version) for use in entry.models
    )


def _entry_document(entry: Entry) -> dict[str, Any]:
    return {
        **dataclasses.asdict(entry),
        "models": [use._asdict() for use in entry.models],
    }


def _settings_document(reader: LedgerReader, digest: str) -> Any:
    """The settings behind a digest; None if no segment holds them any more."""
    text = reader.settings_text(digest)
    return None if text is None else json.loads(text)

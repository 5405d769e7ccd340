"""`cartwright ledger what-if`: what another version would have made of a request."""

from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from serving.cli.connection import Connection, with_connection
from serving.cli.document import print_document
from serving.cli.ledger_options import opened
from serving.cli.render import stdout_console
from serving.cli.tables import plain_table
from serving.errors import NotFound
from serving.ledger.entry import Entry
from serving.protos import commerce_pb2 as pb
from serving.recording.reader import Recording
from serving.recording.recorder import FOLDER
from serving.recording.records import Record, RecordedAnswer
from serving.settings import load_settings

MODEL = "understanding"


@click.command("what-if", short_help="Show what another version would have answered.")
@click.argument("request")
@click.option("--version", type=click.IntRange(min=1), required=True, help="Of understanding.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with settings.")
@with_connection
def what_if_command(
    connection: Connection, request: str, version: int, config: Path | None
) -> None:
    """Ask VERSION what it makes of REQUEST, beside what was answered then.

    The text of a request is known if the recorder took it, masked; a few in a second are. The
    version has to be loaded: `cartwright models shadow` does that.
    """
    reader, as_json = opened(None, config, connection.as_json)
    entries = [found for found in reader.find(request) if isinstance(found, Entry)]
    if not entries:
        raise NotFound(f"request {request}: the ledger has no entry of it")
    record = _record(load_settings(config).stores.folder / FOLDER, request)
    with connection.admin_client(versions={MODEL: version}) as client:
        reply = client.understand(record.text, deadline_ms=connection.deadline_ms)
    then, now = _then(record.answer), _now(reply.understanding)
    if as_json:
        print_document(
            {
                "request": request,
                "text": record.text,
                "then": {"version": record.version, "arm": record.arm, **then},
                "what_if": {"version": version, **now},
                "differs": sorted(name for name in then if then[name] != now[name]),
            }
        )
        return
    console = stdout_console()
    console.print(Text(record.text))
    console.print(_table(record.version, then, version, now))


def _record(folder: Path, request: str) -> Record:
    for record in Recording(folder).records(model=MODEL):
        if record.trace_id == request:
            return record
    raise NotFound(f"request {request}: its text was not recorded; only a sample is ({folder})")


def _then(answer: RecordedAnswer | None) -> dict[str, str]:
    if answer is None:
        return {"intent": "", "slots": "", "sentiment": ""}
    return {
        "intent": answer.intent,
        "slots": ", ".join(f"{slot.name}={slot.value}" for slot in answer.slots),
        "sentiment": answer.sentiment,
    }


def _now(answer: pb.Understanding) -> dict[str, str]:
    prefix = "SENTIMENT_"
    return {
        "intent": answer.intent,
        "slots": ", ".join(f"{slot.name}={slot.value}" for slot in answer.slots),
        "sentiment": pb.Sentiment.Name(answer.sentiment).removeprefix(prefix).lower(),
    }


def _table(old: int, then: dict[str, str], new: int, now: dict[str, str]) -> Table:
    table = plain_table("", f"version {old}, then", f"version {new}")
    for name in then:
        style = "" if then[name] == now[name] else "yellow"
        table.add_row(name, Text(then[name] or "-"), Text(now[name] or "-", style=style))
    return table

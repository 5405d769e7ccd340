"""`cartwright models import`: parses, imports or watches, prints."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from model_build.exchange.mlflow_import import Imported, import_version
from model_build.exchange.mlflow_registry import MlflowRegistry
from model_build.exchange.mlflow_uri import MlflowUri
from model_build.exchange.mlflow_watch import AliasWatch, Look
from model_build.exchange.options import Duration, registry_options
from model_build.options import json_option
from serving.cli.document import print_document

_MIB = 1 << 20


@click.command("import")
@click.argument("uri")
@registry_options
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_repository"),
    show_default=True,
)
@click.option(
    "--watch",
    "period_s",
    type=Duration(),
    metavar="PERIOD",
    help="Go on: look every PERIOD (500ms, 30s, 5m) and import what the alias moves to. "
    "With --json, one document a line.",
)
@json_option
def import_command(
    uri: str,
    connect: Callable[[], MlflowRegistry],
    repository: Path,
    period_s: float | None,
    as_json: bool,
) -> None:
    """Publish a version of an MLflow registry here.

    URI is mlflow:/NAME@ALIAS or mlflow:/NAME/VERSION. The artifacts must be those of a published
    version, as `cartwright models export` stores them. They are checked before anything is
    published: digests, tensors, and one run on sample inputs. A version that is here already is
    not published again.
    """
    where = MlflowUri.parse(uri)
    registry = connect()
    if period_s is not None:
        if where.alias is None:
            raise click.UsageError(f"--watch needs an alias to follow; {where} has none")
        _watch(AliasWatch(registry, where, repository, period_s), where, period_s, as_json=as_json)
        return
    imported = import_version(registry, registry.find(where), repository)
    if as_json:
        print_document(_document(where, imported))
        return
    click.echo(_line(where, imported))


def _watch(watch: AliasWatch, uri: MlflowUri, period_s: float, *, as_json: bool) -> None:
    """Looks until SIGINT or SIGTERM; what a look has begun is finished first."""
    with _stop_event() as stop:
        if not as_json:
            click.echo(f"watching {uri} every {period_s:g} s; Ctrl-C stops")
        while True:
            look = watch.look()
            for document, line, is_warning in _events(uri, look):
                if as_json:
                    click.echo(json.dumps(document, ensure_ascii=False))
                else:
                    click.echo(line, err=is_warning)
            if stop.wait(look.pause_s):
                break
    if not as_json:
        click.echo("stopped watching")


def _events(uri: MlflowUri, look: Look) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """What there is to say about a look: as a document, as a line, whether it is a warning."""
    if look.recovered:
        yield {"event": "recovered", "uri": str(uri)}, f"{uri}: found again", False
    if look.imported is not None:
        event = "imported" if look.imported.new else "present"
        yield (
            {"event": event, **_document(uri, look.imported)},
            _line(uri, look.imported),
            False,
        )
    if look.error is not None:
        message = " ".join(look.error.message.split())
        yield (
            {
                "event": "failed",
                "uri": str(uri),
                "code": look.error.code.name,
                "message": message,
                "next_look_s": look.pause_s,
            },
            f"warning: {message}; next look in {look.pause_s:g} s",
            True,
        )


@contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second one ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(uri: MlflowUri, imported: Imported) -> str:
    manifest, source = imported.manifest, imported.source
    label = f"{manifest.model} {manifest.version}"
    head = f"{uri} is version {source.version}" if uri.alias is not None else str(uri)
    if not imported.new:
        return f"{head}: here already as {label}; nothing published"
    size_mib = sum(artifact.size_bytes for artifact in manifest.artifacts) / _MIB
    return (
        f"{head}: published as {label} "
        f"({manifest.served_artifact}, {len(manifest.artifacts)} files, {size_mib:.1f} MiB)"
    )


def _document(uri: MlflowUri, imported: Imported) -> dict[str, Any]:
    manifest, source = imported.manifest, imported.source
    return {
        "uri": str(uri),
        "source": {"name": source.name, "version": source.version, "run_id": source.run_id},
        "model": manifest.model,
        "version": manifest.version,
        "published": imported.new,
    }

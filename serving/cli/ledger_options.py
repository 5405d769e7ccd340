"""Options that every command takes which reads the ledger."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serving.cli.connection import JSON_KEY
from serving.ledger.reader import LedgerReader


def ledger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command that reads the ledger; see `opened`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="YAML file with settings; CARTWRIGHT_CONFIG names one as well.",
        ),
        click.option(
            "--folder",
            type=click.Path(path_type=Path),
            help="The ledger's folder. Default: the settings' ledger.folder.",
        ),
    ):
        command = option(command)
    return command


def opened(folder: Path | None, config: Path | None, as_json: bool) -> tuple[LedgerReader, bool]:
    """The ledger that the options mean, and whether to print JSON.

    Raises:
        StartupError: the settings cannot be read.
    """
    context = click.get_current_context()
    as_json = as_json or bool(context.find_root().params.get("as_json"))
    context.meta[JSON_KEY] = as_json
    if folder is None:
        # Imported late: a folder needs no settings, and they take a while to load.
        from serving.settings import load_settings

        folder = load_settings(config).ledger.folder
    return LedgerReader(folder), as_json

"""Options that several offline commands share. Light: help for a command imports it too."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from serving.cli.connection import JSON_KEY

seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True
)
repository_option = click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the versions are published.  [default: the settings' triton.model_repository]",
)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json; the command gets `as_json`, which is also true if a group was given it."""

    @wraps(command)
    def told(*, as_json: bool, **arguments: Any) -> Any:
        context = click.get_current_context()
        as_json = as_json or bool(context.find_root().params.get("as_json"))
        context.meta[JSON_KEY] = as_json
        return command(as_json=as_json, **arguments)

    option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return option(told)

"""Options of the commands that exchange versions, beside those of `model_build.options`."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from model_build.exchange.mlflow_http import Credentials
from model_build.exchange.mlflow_registry import MlflowRegistry
from serving.errors import InvalidRequest

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST_S = 0.1


class Duration(click.ParamType[float]):
    """A number with its unit, such as 500ms, 30s, 5m or 1h; in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parses the text; at least 100ms."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        if found is None:
            self.fail(f"{value!r} is no duration such as 500ms, 30s, 5m or 1h", param, ctx)
        seconds = float(found[1]) * _UNITS_S[found[2]]
        if seconds < _SHORTEST_S:
            self.fail(f"{value} is shorter than 100ms", param, ctx)
        return seconds


def registry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --registry; the command gets `connect`, which makes the `MlflowRegistry`.

    Address and credentials also come from the variables that MLflow's own client reads.
    """

    @wraps(command)
    def connected(
        *, registry: str | None, token: str, username: str, password: str, **arguments: Any
    ) -> Any:
        def connect() -> MlflowRegistry:
            if registry is None:
                raise InvalidRequest(
                    "registry", "missing; give --registry URL or set MLFLOW_REGISTRY_URI"
                )
            credentials = Credentials(token=token, username=username, password=password)
            return MlflowRegistry(registry, credentials)

        return command(connect=connect, **arguments)

    for name in ("password", "username", "token"):
        variable = f"MLFLOW_TRACKING_{name.upper()}"
        connected = click.option(f"--{name}", envvar=variable, default="", hidden=True)(connected)
    option = click.option(
        "--registry",
        metavar="URL",
        envvar=["MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"],
        show_envvar=True,
        help="MLflow server. Credentials come from MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    )
    return option(connected)

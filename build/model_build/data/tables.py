"""Reads the TOML tables that lie beside this package's code."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any


class TableError(ValueError):
    """A table of this package is malformed; the text names the file and the entry."""


@cache
def read_table(name: str) -> dict[str, Any]:
    """The parsed TOML file `name`, e.g. "phrases/order.toml". Treat the result as read-only.

    Raises:
        TableError: the file is missing or not TOML.
    """
    path = resources.files("model_build.data").joinpath(name)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{name}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{name}: {error}") from error

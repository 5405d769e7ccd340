"""The key of the stand-ins: one for all replicas of a stack, for as long as its file is kept."""

import os
import secrets
import tempfile
from pathlib import Path

from serving.errors import StartupError

_BYTES = 32


def masking_key(path: Path) -> bytes:
    """The key in a file; the first to ask makes it, readable by its owner alone.

    It lies beside the records and not among them, so that a copy of these goes without it.

    Raises:
        StartupError: the file cannot be read or made, or holds no key.
    """
    try:
        if not path.is_file():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise StartupError(f"{path}: cannot be read or made: {error.strerror}") from error
    if len(key) != _BYTES:
        raise StartupError(
            f"{path}: must have {_BYTES} bytes, has {len(key)}; delete it, and texts that are "
            "recorded from then on get other stand-ins"
        )
    return key


def _make(path: Path) -> None:
    """Makes the file whole or not at all; that of a faster process stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()

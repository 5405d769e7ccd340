"""The run file: tells the commands of this folder where the stack started in it is reached."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from serving.errors import StartupError


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A stack that runs on this machine."""

    grpc_port: int
    # host:port of the Ray cluster's head.
    ray_address: str
    # Prometheus metrics on loopback; 0 in the file of an older version.
    metrics_port: int = 0
    # The same of HAProxy; 0 also where it does not run.
    edge_metrics_port: int = 0
    # The admin's token; only the file's owner can read it.
    admin_token: str = ""
    # Process of `cartwright serve`.
    pid: int = field(default_factory=os.getpid)


def write_run_file(run: RunFile, path: Path) -> Path:
    """Writes the run file so that readers see the old or the new one, never half of it.

    Raises:
        StartupError: the file cannot be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(run)) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise StartupError(f"run file: {path}: cannot be written: {error}") from error
    return path


def read_run_file(path: Path) -> RunFile | None:
    """The stack that runs on this machine; None if there is none (a killed one leaves its file).

    Raises:
        StartupError: the file cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        run = RunFile(
            grpc_port=int(values["grpc_port"]),
            ray_address=str(values["ray_address"]),
            metrics_port=int(values.get("metrics_port", 0)),
            edge_metrics_port=int(values.get("edge_metrics_port", 0)),
            admin_token=str(values.get("admin_token", "")),
            pid=int(values["pid"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"run file: {path}: cannot be read ({type(error).__name__}: {error}); "
            "delete it if no stack runs"
        ) from error
    return run if psutil.pid_exists(run.pid) else None


def remove_run_file(path: Path) -> None:
    """Removes the run file, unless another process has written its own meanwhile."""
    run = read_run_file(path)
    if run is not None and run.pid == os.getpid():
        path.unlink(missing_ok=True)

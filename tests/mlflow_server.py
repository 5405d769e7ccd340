"""A real MLflow server with a SQLite backend, for tests: on loopback, its files in one folder."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

REQUIREMENTS = Path(__file__).parent / "integration" / "mlflow_requirements.txt"
# On two busy cores it takes a quarter of a minute.
_START_S = 90.0
_STOP_S = 10.0


class CannotInstall(Exception):
    """MLflow cannot be had; the text has pip's last line."""


def install(folder: Path) -> Path:
    """Installs MLflow into a folder of its own in `folder`, or finds it there; returns its path.

    Raises:
        CannotInstall: pip failed, without a network for one.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    packages = folder / f"mlflow-{digest}"
    if packages.is_dir():
        return packages
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=folder) as scratch:
        draft = Path(scratch) / "packages"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"),
                *("--disable-pip-version-check", "--target", draft, "-r", REQUIREMENTS),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CannotInstall(done.stderr.strip().rpartition("\n")[2])
        draft.rename(packages)
    return packages


class MlflowServer:
    """Runs within a `with` block; can be stopped and started again in between."""

    def __init__(self, packages: Path, folder: Path) -> None:
        """`packages` is where MLflow is installed."""
        self._packages = packages
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address, also while it is stopped."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server"),
                    *("--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"),
                    *("--artifacts-destination", str(self._folder / "artifacts")),
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": str(self._packages),
                    # It would report its use to its makers.
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "DO_NOT_TRACK": "true",
                    # Jobs of its evaluations, which need more packages and processes.
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # So that its workers end with it.
                start_new_session=True,
            )
        until = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(log.read_text()[-4000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it, and its workers with it."""
        if self._process is None:
            return
        group = self._process.pid
        os.killpg(group, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1.0) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

"""`cartwright serve`: the whole stack on this machine, until it is told to stop."""

import secrets
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import click
from pydantic import SecretStr

from serving.cli.run_file import RunFile, remove_run_file, write_run_file
from serving.errors import StartupError, Unavailable
from serving.runtime import running_stack
from serving.settings import Settings, load_settings

# Seconds between two looks at whether Ray Serve itself still runs.
LOOK_PERIOD_S = 5.0
EXIT_BROKEN = 3
_TOKEN_BYTES = 24


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings; CARTWRIGHT_CONFIG names one as well.",
)
def serve(config: Path | None) -> None:
    """Run model hosts, pipelines and the gRPC ingress."""
    stop = threading.Event()

    def _stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    began = time.monotonic()
    try:
        settings = _with_token(load_settings(config))
        with running_stack(settings) as stack:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _stop)
            run_file = write_run_file(
                RunFile(
                    grpc_port=stack.grpc_port,
                    ray_address=stack.ray_address,
                    metrics_port=stack.metrics_port,
                    edge_metrics_port=stack.edge_metrics_port,
                    admin_token=settings.server.token(),
                ),
                settings.server.run_file,
            )
            try:
                click.echo(
                    f"serving on {settings.server.host}:{stack.grpc_port} "
                    f"after {time.monotonic() - began:.1f} s; Ctrl-C stops"
                )
                while not stop.wait(LOOK_PERIOD_S):
                    stack.check()
                click.echo("stopping")
                for number in (signal.SIGINT, signal.SIGTERM):
                    # A second one ends the process at once.
                    signal.signal(number, signal.SIG_DFL)
            finally:
                remove_run_file(run_file)
    except Unavailable as error:
        click.echo(f"stopped serving: {error.message}", err=True)
        raise SystemExit(EXIT_BROKEN) from error
    except StartupError as error:
        click.echo(f"cannot start: {error.message}", err=True)
        raise SystemExit(StartupError.exit_code) from error


def _with_token(settings: Settings) -> Settings:
    """The settings with a token of the admin's, made for this run if they name none."""
    if settings.server.admin_token is not None:
        return settings
    token = SecretStr(secrets.token_urlsafe(_TOKEN_BYTES))
    server = settings.server.model_copy(update={"admin_token": token})
    return settings.model_copy(update={"server": server})

"""The command line of tritonserver."""

import socket
from dataclasses import dataclass
from pathlib import Path

from serving.settings import TelemetrySettings
from serving.triton.installation import TritonInstallation

LOOPBACK = "127.0.0.1"
# How long a server that is asked to end lets requests under way finish.
EXIT_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where one server listens, on loopback."""

    http: int
    grpc: int
    metrics: int


def free_ports() -> Ports:
    """Ports that were free a moment ago; another process may take them before the server does."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        http, grpc, metrics = (int(one.getsockname()[1]) for one in sockets)
    finally:
        for one in sockets:
            one.close()
    return Ports(http=http, grpc=grpc, metrics=metrics)


def server_command(
    *,
    installation: TritonInstallation,
    model_repository: Path,
    ports: Ports,
    server_id: str,
    shared_memory_prefix: str,
    telemetry: TelemetrySettings | None,
) -> list[str]:
    """Program and arguments.

    Args:
        installation: program and backends.
        model_repository: absolute path.
        ports: where to listen.
        server_id: name that the server answers to.
        shared_memory_prefix: prefix of its regions in /dev/shm.
        telemetry: where traces go; None traces nothing.
    """
    command = [
        str(installation.binary),
        f"--id={server_id}",
        f"--model-repository={model_repository}",
        f"--backend-directory={installation.backend_directory}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        # Models are loaded by request, so that one that fails does not end the server.
        "--model-control-mode=explicit",
        # One failed load would otherwise make the server not ready for good.
        "--strict-readiness=false",
        # Configurations are complete; Triton would start each stub twice to complete them.
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        f"--http-address={LOOPBACK}",
        f"--grpc-address={LOOPBACK}",
        f"--metrics-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        "--log-format=ISO8601",
    ]
    if telemetry is not None and telemetry.enabled:
        endpoint = telemetry.otlp_endpoint.rstrip("/")
        for setting in (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            # Exactly the requests that carry a traceparent.
            "rate=0",
            f"opentelemetry,url={endpoint}/v1/traces",
            f"opentelemetry,bsp_schedule_delay={round(telemetry.export_delay_ms)}",
            f"opentelemetry,resource=service.instance.id={server_id}",
        ):
            command += ["--trace-config", setting]
    return command

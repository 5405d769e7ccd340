"""Deployments and replicas as Ray Serve knows them.

Ray is asked by a child process: its client waits for minutes when something else listens at the
address, and writes to the terminal past Python's logging.

    read_deployments ─▶ python -m serving.cli.cluster ADDRESS ─▶ JSON on its standard output
"""

import json
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

NAMESPACE = "serve"
PROBE_TIMEOUT_S = 1.0
# Importing Ray and connecting take 2 to 4 s on a busy machine.
READ_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One Ray Serve deployment; `replicas` counts them by state, e.g. {"RUNNING": 2}."""

    application: str
    name: str
    status: str
    replicas: dict[str, int]
    message: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        return asdict(self)


def read_deployments(ray_address: str, timeout_s: float = READ_TIMEOUT_S) -> list[Deployment]:
    """All deployments of the cluster, by application and name.

    Args:
        ray_address: host:port of the cluster's head, on this machine.
        timeout_s: longest time to wait for an answer.

    Raises:
        ConnectionError: nothing listens there, or it is no Ray cluster that lets us in.
    """
    # Imported late: the help of `status` needs no settings.
    from serving.settings import child_environment

    _probe(ray_address)
    # A cluster that `ray.init` starts wants its token (kept in the user's home) by default; a
    # client with an explicit address offers it only when told to.
    mode = {"RAY_AUTH_MODE": "token"} if "RAY_AUTH_MODE" not in child_environment({}) else {}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "serving.cli.cluster", ray_address],
            env=child_environment(mode),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(
            f"Ray at {ray_address} did not answer within {timeout_s:g} s"
        ) from error
    if child.returncode != 0:
        last_line = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConnectionError(f"Ray at {ray_address} cannot be asked: {last_line}")
    return [Deployment(**values) for values in json.loads(child.stdout)]


def _probe(ray_address: str) -> None:
    """Finds in a moment that nobody is there."""
    host, _, port = ray_address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConnectionError(f"Ray's address must be host:port, got {ray_address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise ConnectionError(f"Ray does not answer at {ray_address}: {error}") from error


def _ask_ray(ray_address: str) -> list[Deployment]:
    # Only the child process pays for this import.
    import ray
    from ray import serve

    ray.init(address=ray_address, namespace=NAMESPACE, logging_level="ERROR", log_to_driver=False)
    try:
        applications = serve.status().applications
    finally:
        ray.shutdown()
    return [
        Deployment(
            application=application_name,
            name=name,
            status=str(deployment.status.value),
            # Plain strings or members of `ReplicaState`, which is a `str` itself.
            replicas={
                str(getattr(state, "value", state)): number
                for state, number in deployment.replica_states.items()
            },
            message=deployment.message,
        )
        for application_name, application in sorted(applications.items())
        for name, deployment in sorted(application.deployments.items())
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps([deployment.document() for deployment in _ask_ray(sys.argv[1])]))

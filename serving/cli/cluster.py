"""Deployments and replicas as Ray Serve knows them."""

import socket
from dataclasses import asdict, dataclass
from typing import Any

NAMESPACE = "serve"
PROBE_TIMEOUT_S = 1.0


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


def read_deployments(ray_address: str) -> list[Deployment]:
    """All deployments of the cluster, by application and name.

    Args:
        ray_address: host:port of the cluster's head, on this machine.

    Raises:
        ConnectionError: nothing listens there, or it is no Ray cluster of this version.
    """
    _probe(ray_address)
    # Imported late: it takes about a second, and only `status` needs it.
    import ray
    from ray import serve

    try:
        ray.init(
            address=ray_address,
            namespace=NAMESPACE,
            logging_level="ERROR",
            log_to_driver=False,
        )
    except (RuntimeError, ValueError) as error:
        raise ConnectionError(f"Ray at {ray_address} refuses: {error}") from error
    try:
        applications = serve.status().applications
    finally:
        ray.shutdown()
    return [
        Deployment(
            application=application_name,
            name=name,
            status=deployment.status.value,
            replicas={str(state.value): n for state, n in deployment.replica_states.items()},
            message=deployment.message,
        )
        for application_name, application in sorted(applications.items())
        for name, deployment in sorted(application.deployments.items())
    ]


def _probe(ray_address: str) -> None:
    """Ray itself would try for many seconds."""
    host, _, port = ray_address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConnectionError(f"Ray's address must be host:port, got {ray_address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise ConnectionError(f"Ray does not answer at {ray_address}: {error}") from error

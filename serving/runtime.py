"""Starts and stops everything on one machine: Ray, Ray Serve with its ingress, the application.

Ray reads its settings from the environment when it is imported, so nothing here imports it before
`start` has set them.
"""

import math
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.edge.program import write_program
from serving.errors import StartupError, StoreUnavailable, Unavailable
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.settings import Settings, export_environment
from serving.stores.sqlite_stores import open_stores
from serving.triton.installation import locate_tritonserver
from serving.versions.resident import adopt_newest
from serving.versions.store import FILE_NAME, VersionStore

LOOPBACK = "127.0.0.1"
APPLICATION = "cartwright"
# Size of the port ranges in which replicas listen behind HAProxy.
REPLICA_PORTS = 200


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """Where the running stack is reached."""

    grpc_port: int
    http_port: int
    # Prometheus metrics of Ray, Ray Serve and the replicas.
    metrics_port: int
    # The same of HAProxy; 0 without it.
    edge_metrics_port: int
    ray_address: str

    def check(self) -> None:
        """Looks whether Ray Serve still runs the application.

        Raises:
            Unavailable: its controller is gone or does not answer.
        """
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            serve.status()
        except (RayError, RayServeException) as error:
            raise Unavailable(f"Ray Serve's controller does not answer: {error}") from error


def check_before_start(settings: Settings) -> None:
    """Finds in a second what would otherwise fail after a minute of starting.

    Raises:
        StartupError: a port is taken, a model or the shop is missing or corrupt, the stores cannot
            be written, or tritonserver is not there; names the setting or the file.
    """
    for field, port in (
        ("server.grpc_port", settings.server.grpc_port),
        ("server.http_port", settings.server.http_port),
        ("server.metrics_port", settings.server.metrics_port),
        ("server.edge_metrics_port", settings.server.edge_metrics_port),
    ):
        if port and not _is_free(port):
            raise StartupError(f"{field}: port {port} is already taken")
    repository = ModelRepository(settings.triton.model_repository)
    for model in settings.triton.models:
        # The line-ups, which may name others, come into being with the stores.
        repository.latest(model)
    # Imports a new shop as well, so that the replicas do not wait for each other's import.
    open_stores(settings.stores).close()
    for version in _live_versions(settings, repository):
        repository.version(*version).verify()
    if settings.triton.mode == "managed":
        locate_tritonserver(settings.triton)


@contextmanager
def running_stack(settings: Settings) -> Iterator[RunningStack]:
    """Runs the stack for the length of the block.

    Raises:
        StartupError: it cannot start; everything that had been started is stopped again.
    """
    check_before_start(settings)
    with ExitStack() as cleanup:
        # Short, because a Unix socket's path may have 107 characters at most.
        folder = Path(tempfile.mkdtemp(prefix="cartwright-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        edge_metrics_port = 0
        if settings.server.ha_proxy:
            edge_metrics_port = settings.server.edge_metrics_port or free_port()
        export_environment(ray_environment(settings, folder, APPLICATION, edge_metrics_port))
        yield _start(settings, edge_metrics_port, cleanup)


def _live_versions(settings: Settings, repository: ModelRepository) -> list[ModelVersion]:
    """What is live; where nobody has decided it, the newest version from now on.

    Raises:
        StartupError: a model's live version is not published, or the line-ups cannot be used.
    """
    try:
        store = VersionStore(settings.stores.folder / FILE_NAME)
        adopt_newest(store, repository, settings.triton.models)
        live = {model: entry.lineup.live for model, entry in store.read_all().items()}
    except StoreUnavailable as error:
        raise StartupError(f"stores.folder: {error.message}") from error
    return [ModelVersion(model, version) for model, version in live.items() if version is not None]


def ray_environment(
    settings: Settings, folder: Path, application: str, edge_metrics_port: int
) -> dict[str, str]:
    """Environment of Ray and its workers, for one application; `folder` takes HAProxy's files.

    HAProxy's files and ports are fixed in Ray Serve's defaults, which would let two stacks on one
    machine break each other.
    """
    replica_http = _free_range(2 * REPLICA_PORTS, settings.server.grpc_port)
    replica_grpc = replica_http + REPLICA_PORTS
    edge = {}
    if settings.server.ha_proxy:
        program = write_program(folder / "haproxy", application, settings.server)
        edge["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(program)
    return {
        **edge,
        "RAY_SERVE_ENABLE_HA_PROXY": str(int(settings.server.ha_proxy)),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(settings.server.throughput_optimized)),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(settings.server.drain_s),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica_http),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_http + REPLICA_PORTS - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replica_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(replica_grpc + REPLICA_PORTS - 1),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # Where HAProxy turns when no replica is there: with the fixed default, to another stack's.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(edge_metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A thread of HAProxy forwards thousands of calls a second; more only wake each other.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 8))),
        # What Ray's own processes burn without any load: halved by looking less often (see
        # docs/performance.md). Replicas and hosts look after themselves meanwhile.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_raylet_report_resources_period_milliseconds": "1000",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_event_stats": "0",
        # Console lines of Ray's own processes go to its log files only.
        "RAY_LOG_TO_DRIVER_EVENT_LEVEL": "ERROR",
    }


def _start(settings: Settings, edge_metrics_port: int, cleanup: ExitStack) -> RunningStack:
    import ray
    from ray import serve
    from ray.serve.api import RunTarget
    from ray.serve.config import HTTPOptions, gRPCOptions
    from ray.serve.schema import LoggingConfig

    from serving.app import NAMESPACE, build_app
    from serving.ingress.servicers import IMPORT_PATHS

    grpc_port = settings.server.grpc_port or free_port()
    http_port = settings.server.http_port or free_port()
    metrics_port = settings.server.metrics_port or free_port()
    context = ray.init(
        include_dashboard=False,
        _node_ip_address=LOOPBACK,
        num_cpus=_logical_cpus(settings),
        logging_level="ERROR",
        log_to_driver=False,
        namespace=NAMESPACE,
        _metrics_export_port=metrics_port,
    )
    cleanup.callback(ray.shutdown)
    serve.start(
        grpc_options=gRPCOptions(
            port=grpc_port,
            grpc_servicer_functions=IMPORT_PATHS,
            enable_reflection=settings.server.reflection,
        ),
        http_options=HTTPOptions(host=settings.server.host, port=http_port),
    )
    cleanup.callback(serve.shutdown)
    serve.run_many(
        [
            RunTarget(
                target=build_app(settings),
                name=APPLICATION,
                route_prefix="/",
                # A line a request costs a tenth of what the replica spends on it.
                logging_config=LoggingConfig(enable_access_log=False),
            )
        ],
        wait_for_applications_running=False,
    )
    _wait_until_running(settings.server.start_timeout_s)
    return RunningStack(
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        edge_metrics_port=edge_metrics_port,
        ray_address=context.address_info["address"],
    )


def _wait_until_running(timeout_s: float) -> None:
    """Waits for Ray Serve to have every deployment healthy.

    Raises:
        StartupError: a deployment failed, with its own reason; or the time is over.
    """
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    give_up_at = time.monotonic() + timeout_s
    while True:
        application = serve.status().applications[APPLICATION]
        if application.status == ApplicationStatus.RUNNING:
            return
        reasons = [
            deployment.message
            for deployment in application.deployments.values()
            if deployment.message
        ]
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            raise StartupError(_root_cause([application.message, *reasons]))
        if time.monotonic() > give_up_at:
            raise StartupError(
                f"server.start_timeout_s: not running after {timeout_s:.0f} s: "
                + _root_cause([application.message, *reasons])
            )
        time.sleep(0.1)


def _root_cause(messages: list[str]) -> str:
    """The last StartupError in Ray Serve's messages (which hold tracebacks), or all of them."""
    marker = f"{StartupError.__module__}.{StartupError.__qualname__}: "
    lines = [line for message in messages for line in message.splitlines() if marker in line]
    if lines:
        return lines[-1].split(marker, 1)[1]
    return " ".join("\n".join(messages).split())


def _logical_cpus(settings: Settings) -> int:
    """Enough for every replica that the settings allow; Ray's CPUs are places, not cores."""
    agent, step = settings.deployments.agent, settings.deployments.step
    placed = [p for p in settings.placement.model_dump().values() if p == "deployment"]
    wanted = agent.max_replicas * agent.num_cpus + len(placed) * step.max_replicas * step.num_cpus
    if settings.triton.mode == "managed":
        wanted += settings.triton.most_hosts * settings.triton.num_cpus
    return math.ceil(wanted) + 1


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose old connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _free_range(length: int, without: int) -> int:
    """First port of a range outside the ephemeral ports that looks unused, without one port."""
    generator = random.SystemRandom()
    for _ in range(100):
        first = generator.randrange(10_000, 32_000 - length)
        if not first <= without < first + length and all(
            _is_free(port) for port in range(first, first + 8)
        ):
            return first
    raise StartupError("no free range of ports between 10000 and 32000 for the replicas")

"""A Ray Serve instance of the benchmark's own, beside whatever else runs on the machine.

defaults  Ray Serve as it comes: its Python proxy, its logging, its access log
echo      an empty application behind the same ingress as ours
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from loadtest.bench.children import on_stop, own_folder, say_serving
from serving.runtime import LOOPBACK, free_port, ray_environment
from serving.settings import Settings, export_environment

DEFAULTS, ECHO = "ray-defaults", "ray-echo"
# Names of the applications: a caller chooses by the metadata `application`.
PLAIN, BATCHED = "plain", "batched"
ECHO_APPLICATION = "echo"
# Callers that a replica works for at once; Ray Serve's default of 5 would keep batches small.
_MOST_IN_FLIGHT = 512
_SERVICER = "serving.protos.commerce_pb2_grpc.add_AgentServicer_to_server"
_LOGICAL_CPUS = 8

Applications = Callable[[], Mapping[str, object]]


def serve_defaults(repository: Path) -> None:
    """Serves both ways of asking the model until it is told to stop."""

    def applications() -> Mapping[str, object]:
        # Imports Ray, which reads its environment then.
        from loadtest.bench.ray_apps import Batched, Plain, application

        path = str(repository.absolute())
        return {
            PLAIN: application(Plain, "Plain", path),
            BATCHED: application(Batched, "Batched", path, max_ongoing_requests=_MOST_IN_FLIGHT),
        }

    with ExitStack() as cleanup:
        _environment(ha_proxy=False, throughput_optimized=False)
        _serve(cleanup, applications)


def serve_echo() -> None:
    """Serves the echo until it is told to stop."""

    def applications() -> Mapping[str, object]:
        from loadtest.bench.ray_apps import Echo, application

        return {ECHO_APPLICATION: application(Echo, "Echo", max_ongoing_requests=_MOST_IN_FLIGHT)}

    with ExitStack() as cleanup:
        _environment(ha_proxy=True, throughput_optimized=True)
        _serve(cleanup, applications)


def _environment(*, ha_proxy: bool, throughput_optimized: bool) -> None:
    settings = Settings()
    server = settings.server.model_copy(
        update={
            "ha_proxy": ha_proxy,
            "throughput_optimized": throughput_optimized,
            # The same edge as the stack's, and the same limits as there: none that is felt.
            "admission": settings.server.admission.model_copy(
                update={"max_in_flight": _MOST_IN_FLIGHT}
            ),
        }
    )
    settings = settings.model_copy(update={"server": server})
    export_environment(ray_environment(settings, own_folder(), ECHO_APPLICATION, free_port()))


def _serve(cleanup: ExitStack, applications: Applications) -> None:
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    stop = threading.Event()
    on_stop(stop.set)
    grpc_port = free_port()
    ray.init(
        include_dashboard=False,
        _node_ip_address=LOOPBACK,
        num_cpus=_LOGICAL_CPUS,
        logging_level="ERROR",
        log_to_driver=False,
    )
    cleanup.callback(ray.shutdown)
    serve.start(
        grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=[_SERVICER]),
        http_options=HTTPOptions(host=LOOPBACK, port=free_port()),
    )
    cleanup.callback(serve.shutdown)
    for name, application in applications().items():
        serve.run(application, name=name, route_prefix=f"/{name}")
    say_serving(f"{LOOPBACK}:{grpc_port}")
    stop.wait()

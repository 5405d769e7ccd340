"""The Ray Serve application: every deployment is wired here and only here.

    build_app(settings)
      Agent       ingress and pipelines; steps inside unless `placement` says otherwise
      Step-<name> one for each step placed as a deployment
      ModelHost   one tritonserver each (triton.mode: managed)

Hosts publish themselves to the registry actor; agents and steps follow it and talk gRPC to the
hosts, so that no inference passes through Ray.
"""

import asyncio
import functools
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serving.coalescing.coalescer import Call, Coalescer
from serving.deadline import Deadline
from serving.errors import FailedPrecondition, Internal, Overloaded, Unavailable
from serving.ingress.agent import Ingress
from serving.ingress.books import open_books
from serving.ingress.health import Health
from serving.ingress.models import ModelsView
from serving.ingress.servicers import serve_directly
from serving.metrics.ray_sink import RaySink
from serving.metrics.readings import (
    admission_readings,
    coalescer_readings,
    keep_publishing,
    shadow_readings,
)
from serving.replica import Replica, open_replica
from serving.rollout.conductor import Conductor, keep_conducting
from serving.scaling.observation import IN_FLIGHT
from serving.scaling.ray_options import host_replicas, pipeline_replicas
from serving.scaling.rules import STEP_PREFIX
from serving.settings import DeploymentSettings, DeploymentsSettings, Settings
from serving.steps.placement import RemoteStep, StepCall, StepOutcome, StepServer
from serving.triton.demand import Demand, keep_telling
from serving.triton.discovery import HostRecord, HostRegistry, HostState
from serving.triton.replica import ModelHostReplica
from serving.versions.hold import keep_releasing
from serving.versions.store import FILE_NAME, VersionStore

logger = logging.getLogger(__name__)

REGISTRY_ACTOR = "cartwright-host-registry"
NAMESPACE = "serve"
# Of a model host; Ray Serve's default of 2 s would come before its own waiting.
HOST_SHUTDOWN_LOOK_S = 0.1
# Pause between two looks for articles that have no vector yet.
EMBED_PERIOD_S = 2.0


def build_app(settings: Settings) -> Application:
    """The whole application for `serve.run`."""
    steps = {
        name: _deployment(
            StepDeployment,
            f"{STEP_PREFIX}{name}",
            settings.deployments.step,
            settings,
        ).bind(settings, name)
        for name, placement in settings.placement
        if placement == "deployment"
    }
    hosts = None
    if settings.triton.mode == "managed":
        hosts = serve.deployment(
            ModelHost,
            name="ModelHost",
            **host_replicas("ModelHost", settings),
            max_ongoing_requests=1,
            max_queued_requests=1,
            health_check_period_s=settings.deployments.host_health_check_period_s,
            health_check_timeout_s=settings.deployments.host_health_check_timeout_s,
            graceful_shutdown_timeout_s=settings.deployments.host_graceful_shutdown_timeout_s,
            graceful_shutdown_wait_loop_s=HOST_SHUTDOWN_LOOK_S,
            ray_actor_options={
                "num_cpus": settings.triton.num_cpus,
                "num_gpus": settings.triton.num_gpus,
            },
        ).bind(settings)
    return _deployment(
        AgentIngress,
        "Agent",
        settings.deployments.agent,
        settings,
    ).bind(settings, steps, hosts)


def _deployment(
    kind: type,
    name: str,
    limits: DeploymentSettings,
    settings: Settings,
) -> Any:
    return serve.deployment(
        kind,
        name=name,
        max_ongoing_requests=limits.max_ongoing_requests,
        max_queued_requests=limits.max_queued_requests,
        **pipeline_replicas(name, limits, settings),
        health_check_period_s=limits.health_check_period_s,
        health_check_timeout_s=limits.health_check_timeout_s,
        graceful_shutdown_timeout_s=limits.graceful_shutdown_timeout_s,
        ray_actor_options={"num_cpus": limits.num_cpus},
    )


# ---- deployments -----------------------------------------------------------------------------


class AgentIngress(Ingress):
    """The ingress with its pipelines, in a replica."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, steps: dict[str, DeploymentHandle], _hosts: object
    ) -> None:
        """`_hosts` is here to make the model hosts part of the application."""
        self._replica = await open_replica(settings, "agent", _follow_registry)
        pipelines = self._replica.pipelines(
            {
                name: RemoteStep(_remote_call(name, handle, settings.deployments))
                for name, handle in steps.items()
            }
        )
        replica = self._replica
        view = ModelsView(
            replica.router.lineups,
            replica.models.opened,
            replica.directory.records,
            replica.client.in_flight,
        )
        health = Health(settings.triton.models, replica.router.can_answer)
        books = await asyncio.to_thread(open_books, settings, replica.tally, replica.models.opened)
        admin = replica.admin()
        super().__init__(settings, pipelines, view, health, admin, books)
        if settings.server.direct_calls:
            serve_directly(self)
        self._embedding = asyncio.ensure_future(_keep_embedding(pipelines.knowledge.embed_missing))
        self._publishing = asyncio.ensure_future(
            keep_publishing(
                lambda: [
                    *coalescer_readings(self._replica.client.stats()),
                    *admission_readings(self.admission.stats()),
                    *books.readings(),
                    *shadow_readings(replica.shadows.stats()),
                ],
                RaySink(),
            )
        )
        self._telling = _keep_telling(settings, self._replica)
        self._releasing = asyncio.ensure_future(
            keep_releasing(
                replica.versions.entries,
                VersionStore(settings.stores.folder / FILE_NAME),
                settings.versions.hold_s,
            )
        )
        conductor = Conductor(admin.store, admin.judge, admin.readiness, admin.promotion)
        self._conducting = asyncio.ensure_future(keep_conducting(conductor, replica.router.tried))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve when the deployment is scaled: what its rules know of a replica."""
        return {IN_FLIGHT: float(self.admission.in_flight)}

    async def __del__(self) -> None:
        """Called by Ray Serve when the replica leaves."""
        # Not there when the constructor failed.
        if hasattr(self, "_publishing"):
            self._embedding.cancel()
            self._publishing.cancel()
            self._releasing.cancel()
            self._conducting.cancel()
        telling = getattr(self, "_telling", None)
        if telling is not None:
            telling.cancel()
        if hasattr(self, "_replica"):
            await self._replica.close()
        if hasattr(self, "_books") and self._books is not None:
            await self._books.close()


class StepDeployment:
    """One step in replicas of its own."""

    async def __init__(self, settings: Settings, name: str) -> None:  # type: ignore[misc]
        self._replica = await open_replica(settings, f"step-{name}", _follow_registry)
        self._server: StepServer[Any] = StepServer(getattr(self._replica.models.steps, name))
        self._publishing = asyncio.ensure_future(
            keep_publishing(lambda: coalescer_readings(self._replica.client.stats()), RaySink())
        )
        self._telling = _keep_telling(settings, self._replica)
        self._in_flight = 0

    async def __call__(self, calls: Sequence[StepCall]) -> list[StepOutcome[Any]]:
        """Runs the step once for each call, side by side."""
        self._in_flight += len(calls)
        try:
            return await self._server.together(calls)
        finally:
            self._in_flight -= len(calls)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve when the deployment is scaled: what its rules know of a replica."""
        return {IN_FLIGHT: float(self._in_flight)}

    async def __del__(self) -> None:
        """Called by Ray Serve when the replica leaves."""
        if hasattr(self, "_publishing"):
            self._publishing.cancel()
        telling = getattr(self, "_telling", None)
        if telling is not None:
            telling.cancel()
        if hasattr(self, "_replica"):
            await self._replica.close()


class ModelHost:
    """One supervised tritonserver."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        self._host = ModelHostReplica(settings, f"host-{uuid.uuid4().hex[:8]}", _publish)
        await self._host.start()

    async def check_health(self) -> None:
        """Called by Ray Serve; raises when the host cannot be brought back."""
        self._host.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve when the hosts are scaled."""
        return await self._host.load(await _registry().waiting_a_host.remote())

    async def __del__(self) -> None:
        """Called by Ray Serve when the replica leaves."""
        if hasattr(self, "_host"):
            await self._host.shutdown()


# ---- registry --------------------------------------------------------------------------------


class RegistryActor:
    """The registry in a process of its own; restarted by Ray, refilled by the hosts' heartbeats."""

    def __init__(self) -> None:
        self._registry = HostRegistry()
        self._demand = Demand()

    async def publish(self, record: HostRecord) -> None:
        """See `HostRegistry.publish`."""
        self._registry.publish(record)

    async def changes(
        self, since_revision: int, timeout_s: float
    ) -> tuple[int, tuple[HostRecord, ...]]:
        """See `HostRegistry.changes`."""
        return await self._registry.changes(since_revision, timeout_s)

    async def note_waiting(self, replica: str, calls: float) -> None:
        """Takes the calls that wait at a replica for a place at a host."""
        self._demand.note(replica, calls)

    async def waiting_a_host(self) -> float:
        """Calls that wait at replicas, for each host that serves."""
        _, records = self._registry.snapshot()
        ready = sum(record.state is HostState.READY for record in records)
        return self._demand.waiting() / max(ready, 1)


@functools.cache
def _registry() -> Any:
    """The actor, made by whoever asks first. Its handle outlives its restarts."""
    actor = ray.remote(RegistryActor).options(
        name=REGISTRY_ACTOR,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=1000,
    )
    return actor.remote()


async def _publish(record: HostRecord) -> None:
    await _registry().publish.remote(record)


async def _note_waiting(replica: str, calls: float) -> None:
    await _registry().note_waiting.remote(replica, calls)


def _keep_telling(settings: Settings, replica: Replica) -> "asyncio.Future[None] | None":
    """Lets the registry know what waits here; None if nobody decides by it."""
    if settings.triton.mode != "managed" or settings.triton.hosts == settings.triton.most_hosts:
        return None
    name = serve.get_replica_context().replica_tag
    return asyncio.ensure_future(
        keep_telling(name, lambda: replica.client.stats().values(), _note_waiting)
    )


async def _follow_registry(
    since_revision: int, timeout_s: float
) -> tuple[int, Sequence[HostRecord]]:
    found: tuple[int, Sequence[HostRecord]] = await _registry().changes.remote(
        since_revision, timeout_s
    )
    return found


# ---- steps elsewhere -------------------------------------------------------------------------


def _remote_call(
    name: str, handle: DeploymentHandle, limits: DeploymentsSettings
) -> Callable[[StepCall], Awaitable[StepOutcome[Any]]]:
    """Carries calls to a step's deployment; those that gather meanwhile share a hop."""

    async def send(
        calls: Sequence[Call[StepCall, StepOutcome[Any]]], _deadline: Deadline
    ) -> Sequence[StepOutcome[Any]]:
        response = handle.remote(
            [replace(c.item, remaining_ms=max(c.deadline.remaining_ms(), 0.01)) for c in calls]
        )
        try:
            outcomes: Sequence[StepOutcome[Any]] = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError as error:
            raise Overloaded(f"the queue of step {name} is full") from error
        except RayTaskError as error:
            raise Internal(f"step {name} failed in its own process") from error
        except (RayError, RayServeException) as error:
            raise Unavailable(f"step {name} cannot be reached") from error
        return outcomes

    hops: Coalescer[StepCall, StepOutcome[Any]] = Coalescer(
        f"step {name}",
        send,
        places=lambda: limits.step_hops_under_way,
        max_rows=limits.step_calls_a_hop,
        max_waiting=limits.step.max_queued_requests,
    )

    async def call(envelope: StepCall) -> StepOutcome[Any]:
        deadline = Deadline.after_ms(envelope.remaining_ms)
        return await hops.result(hops.submit(envelope, 1, deadline))

    return call


async def _keep_embedding(embed_missing: Callable[[], Awaitable[int]]) -> None:
    """Gives vectors to articles that were stored while the encoder was away."""
    while True:
        try:
            worked_on = await embed_missing()
        except (Unavailable, FailedPrecondition) as error:
            # The latter: a version of it that is not ready yet.
            logger.info("articles wait for the encoder: %s", error.message)
            worked_on = 0
        except Exception:
            logger.exception("articles could not be given their vectors")
            worked_on = 0
        if not worked_on:
            await asyncio.sleep(EMBED_PERIOD_S)

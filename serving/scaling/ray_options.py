"""Options of a Ray Serve deployment that say how many replicas it has."""

import warnings
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from serving.scaling.ray_policy import WatchedScaling
from serving.scaling.trace import Kind
from serving.settings import DeploymentSettings, Settings

# Decisions are on the mean of so many periods.
_PERIODS = 3


def pipeline_replicas(
    deployment: str, limits: DeploymentSettings, settings: Settings
) -> dict[str, Any]:
    """For a deployment that runs pipelines or a step; see `WatchedScaling`."""
    if limits.min_replicas == limits.max_replicas:
        return {"num_replicas": limits.min_replicas}
    return _scaled(
        deployment,
        "pipeline",
        limits.model_dump(mode="json"),
        settings,
        bounds=(limits.min_replicas, limits.max_replicas),
    )


def host_replicas(deployment: str, settings: Settings) -> dict[str, Any]:
    """For the model hosts."""
    triton = settings.triton
    if triton.hosts == triton.most_hosts:
        return {"num_replicas": triton.hosts}
    return _scaled(
        deployment,
        "hosts",
        triton.model_dump(mode="json"),
        settings,
        bounds=(triton.hosts, triton.most_hosts),
    )


def _scaled(
    deployment: str,
    kind: Kind,
    limits: dict[str, Any],
    settings: Settings,
    *,
    bounds: tuple[int, int],
) -> dict[str, Any]:
    scaling = settings.scaling
    # The controller may run in another folder.
    scaling = scaling.model_copy(update={"log_folder": scaling.log_folder.absolute()})
    with warnings.catch_warnings():
        # `metrics_interval_s` is announced to give way to an environment variable, which has no
        # effect yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        return {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=bounds[0],
                max_replicas=bounds[1],
                metrics_interval_s=scaling.period_s,
                look_back_period_s=_PERIODS * scaling.period_s,
                # The rules have cool-downs of their own.
                upscale_delay_s=0.0,
                downscale_delay_s=0.0,
                policy=AutoscalingPolicy(
                    policy_function=WatchedScaling,
                    policy_kwargs={
                        "deployment": deployment,
                        "kind": kind,
                        "limits": limits,
                        "scaling": scaling.model_dump(mode="json"),
                    },
                ),
            )
        }

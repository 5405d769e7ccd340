"""From the settings to the rules of each kind of deployment."""

from serving.scaling.decide import Rules
from serving.scaling.signals import InFlightTarget, QueueTarget, Target
from serving.scaling.trace import Kind
from serving.settings import DeploymentSettings, ScalingSettings, Settings, TritonSettings

STEP_PREFIX = "Step-"


def rules_of(deployment: str, kind: Kind, settings: Settings) -> Rules:
    """Rules of a deployment by its name, as the stack would be started with these settings."""
    if kind == "hosts":
        return host_rules(settings.triton, settings.scaling)
    is_step = deployment.startswith(STEP_PREFIX)
    limits = settings.deployments.step if is_step else settings.deployments.agent
    return pipeline_rules(limits, settings.scaling)


def pipeline_rules(limits: DeploymentSettings, scaling: ScalingSettings) -> Rules:
    """Rules of a deployment that runs pipelines or a step."""
    target = InFlightTarget(in_flight=limits.target_ongoing_requests)
    return _rules(limits.min_replicas, limits.max_replicas, target, scaling)


def host_rules(triton: TritonSettings, scaling: ScalingSettings) -> Rules:
    """Rules of the model hosts."""
    target = QueueTarget(queue_ms=scaling.target_queue_ms, pending=scaling.target_pending)
    return _rules(triton.hosts, triton.most_hosts, target, scaling)


def _rules(minimum: int, maximum: int, target: Target, scaling: ScalingSettings) -> Rules:
    return Rules(
        minimum=minimum,
        maximum=maximum,
        target=target,
        cool_down_up_s=scaling.cool_down_up_s,
        cool_down_down_s=scaling.cool_down_down_s,
        stale_after_s=scaling.stale_after_s,
    )

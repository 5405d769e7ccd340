"""One typed tree of settings."""

from serving.settings.sections import (
    AdmissionSettings,
    CoalescingSettings,
    DeploymentSettings,
    DeploymentsSettings,
    DialogueSettings,
    LimitSettings,
    ObjectiveSettings,
    PlacementSettings,
    ScalingSettings,
    ServerSettings,
    StoreSettings,
    TelemetrySettings,
    TritonSettings,
    VersionSettings,
)
from serving.settings.tree import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    Settings,
    child_environment,
    export_environment,
    load_settings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "AdmissionSettings",
    "CoalescingSettings",
    "DeploymentSettings",
    "DeploymentsSettings",
    "DialogueSettings",
    "LimitSettings",
    "ObjectiveSettings",
    "PlacementSettings",
    "ScalingSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "TritonSettings",
    "VersionSettings",
    "child_environment",
    "export_environment",
    "load_settings",
]

"""One typed tree of settings."""

from serving.settings.sections import (
    AdmissionSettings,
    CoalescingSettings,
    DeploymentSettings,
    DeploymentsSettings,
    DialogueSettings,
    LedgerSettings,
    LimitSettings,
    ObjectiveSettings,
    PlacementSettings,
    RecordingSettings,
    ScalingSettings,
    ServerSettings,
    StoreSettings,
    TelemetrySettings,
    TritonSettings,
)
from serving.settings.tree import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    Settings,
    child_environment,
    export_environment,
    load_settings,
)
from serving.settings.versions import RolloutSettings, VersionSettings

__all__ = [
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "AdmissionSettings",
    "CoalescingSettings",
    "DeploymentSettings",
    "DeploymentsSettings",
    "DialogueSettings",
    "LedgerSettings",
    "LimitSettings",
    "ObjectiveSettings",
    "PlacementSettings",
    "RecordingSettings",
    "RolloutSettings",
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

"""The whole tree of settings, and how it is read: defaults < YAML file < environment.

The file is named by `--config` or `CARTWRIGHT_CONFIG`. An environment variable names its field with
double underscores: `CARTWRIGHT_SERVER__GRPC_PORT=9100`. Unknown fields are refused.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from serving.errors import StartupError
from serving.settings.sections import (
    DeadlineSettings,
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
from serving.settings.versions import VersionSettings

ENV_PREFIX = "CARTWRIGHT_"
CONFIG_VARIABLE = "CARTWRIGHT_CONFIG"


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    objectives: ObjectiveSettings = ObjectiveSettings()
    limits: LimitSettings = LimitSettings()
    placement: PlacementSettings = PlacementSettings()
    deployments: DeploymentsSettings = DeploymentsSettings()
    triton: TritonSettings = TritonSettings()
    scaling: ScalingSettings = ScalingSettings()
    stores: StoreSettings = StoreSettings()
    versions: VersionSettings = VersionSettings()
    dialogue: DialogueSettings = DialogueSettings()
    recording: RecordingSettings = RecordingSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ledger: LedgerSettings = LedgerSettings()

    @model_validator(mode="after")
    def _limits_fit_each_other(self) -> Self:
        limit = self.deployments.agent.max_ongoing_requests
        in_flight = self.server.admission.max_in_flight
        if in_flight >= limit:
            raise ValueError(
                f"server.admission.max_in_flight ({in_flight}) must be below "
                f"deployments.agent.max_ongoing_requests ({limit}), so that the ingress can still "
                "answer those it refuses"
            )
        shutdown_s = self.deployments.agent.graceful_shutdown_timeout_s
        if self.server.drain_s >= shutdown_s:
            raise ValueError(
                f"server.drain_s ({self.server.drain_s}) must be below "
                f"deployments.agent.graceful_shutdown_timeout_s ({shutdown_s}), which includes it"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file (the file's content arrives as the initial values)."""
        assert isinstance(init_settings, InitSettingsSource)
        return env_settings, init_settings


def load_settings(path: Path | None = None) -> Settings:
    """Reads the settings.

    Args:
        path: YAML file; without one, the file named by `CARTWRIGHT_CONFIG`, if any.

    Raises:
        StartupError: the file or a value is unusable; names the field, the value and the reason.
    """
    if path is None and CONFIG_VARIABLE in os.environ:
        path = Path(os.environ[CONFIG_VARIABLE])
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise StartupError(f"settings: {path}: cannot be read: {error}") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise StartupError(f"settings: {path}: must be a mapping of sections")
        values = loaded or {}
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        raise StartupError(
            "settings: " + "; ".join(_describe(e) for e in error.errors())
        ) from error


def _refuse_unknown_variables() -> None:
    """A misspelt section would otherwise be ignored without a word."""
    for name in os.environ:
        if not name.upper().startswith(ENV_PREFIX) or name == CONFIG_VARIABLE:
            continue
        section = name[len(ENV_PREFIX) :].split("__")[0].lower()
        if section not in Settings.model_fields:
            raise StartupError(f"settings: {name}: there is no section {section!r}")


def export_environment(variables: Mapping[str, str]) -> None:
    """Sets variables that libraries read when they are imported (Ray and what it starts)."""
    os.environ.update(variables)


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `variables` on top, for a child process."""
    return {**os.environ, **variables}


def _describe(error: Any) -> str:
    """`section.field: reason (got value)`."""
    field = ".".join(str(part) for part in error["loc"]) or "(root)"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{field}: there is no such setting"
    if isinstance(error["input"], dict | BaseModel):
        return f"{field}: {message}"
    return f"{field}: {message} (got {error['input']!r})"

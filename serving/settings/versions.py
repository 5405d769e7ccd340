"""Settings of versions and of how they are rolled out."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from serving.settings.section import Positive, Section
from serving.versions.verdict import Gate


class RolloutSettings(Section):
    """A promotion that goes on by itself (`cartwright models promote --auto`): shadow, then each
    share, then live. What `failures` and `late` allow is what all customers together may suffer: a
    small share may have a larger part of it."""

    shares: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (1.0, 10.0, 50.0)
    """Percent of the customers that the version answers in each stage after the shadow, rising."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Chance that a version which is no worse is ever rejected, or one beyond the margins accepted,
    however often it is looked at, over all stages and measures."""
    failures: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """Share of requests that may fail or be degraded more than with the live version."""
    late: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of requests that may take longer than the live version's 99th percentile, beyond the
    hundredth that does so anyway."""
    disagreement: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of requests that the version may answer otherwise than the live one."""
    incomparable: tuple[str, ...] = ("encoder",)
    """Models for which that is not asked: an encoder that was trained anew gives other vectors for
    everything."""
    bad_feedback: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of rated answers that may be found not helpful more often than the live version's."""
    min_stage_s: Annotated[float, Field(ge=0)] = 60.0
    """Every stage lasts this long at least, unless the version is rejected."""
    max_stage_s: Positive = 7200.0
    """A version about which a stage has not decided by then is withdrawn."""
    max_load_s: Positive = 120.0
    """A version that is not ready on every host by then is withdrawn."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.shares or list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"shares: must rise, got {self.shares}")
        return self


class VersionSettings(Section):
    """Which versions of the models serve. Line-ups, their history and the verdicts of the gates lie
    in `stores.folder`."""

    hold_s: Positive = 3600.0
    """How long the previous version stays loaded after the last step, so that a rollback only moves
    traffic; then it is released."""
    gates: tuple[Gate, ...] = (Gate.PARITY, Gate.QUALITY, Gate.LATENCY)
    """Gates that a version must have passed before it is promoted. `replay` needs recorded
    requests."""
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the time that a process may take for shadow calls: after 5 ms it rests for 15 ms."""
    rollout: RolloutSettings = RolloutSettings()

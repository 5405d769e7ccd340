"""A promotion that goes on by itself, as it stands: kept beside the line-up that it has made."""

from pydantic import BaseModel, ConfigDict

from serving.rollout.counts import Counts


class Rollout(BaseModel):
    """One model's. It belongs to a revision of the line-up: whoever takes another step ends it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    version: int
    # Of whoever began it.
    author: str
    reason: str
    # Whether failed gates are overruled at its end.
    forced: bool = False
    # 0 is the shadow, n the n-th share of `versions.rollout.shares`.
    stage: int = 0
    # Unix time of the last step.
    stepped_at_ms: int
    # Whether this stage counts: not before the version is ready everywhere.
    counting: bool = False
    # What had been counted when this stage began to count.
    before: Counts = Counts()
    # By method, the bucket of live's 99th percentile then: what takes longer is late.
    late_above: dict[str, int] = {}

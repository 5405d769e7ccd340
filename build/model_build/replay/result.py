"""What a replay found. Complete and plain data: printed, and written as JSON."""

import math
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from model_build.replay.differences import Kind
from serving.versions.verdict import Verdict

CONFIDENCE = 0.95

NotNegative = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Share(_Strict):
    """So many of so many, with the bounds of the true share."""

    count: Number
    of: Number
    low: NotNegative
    high: NotNegative

    @property
    def value(self) -> float:
        """The share that was seen; 0 of nothing."""
        return self.count / self.of if self.of else 0.0


class Latency(_Strict):
    """From text to understanding, one request at a time."""

    calls: Number
    mean_ms: NotNegative
    p50_ms: NotNegative
    p99_ms: NotNegative


class Side(_Strict):
    """One of the two versions."""

    version: int
    served_artifact: str
    sha256: str
    """Of the served artifact."""
    failed: Number
    """Requests without an answer."""
    first_failure: str
    """The reason of the first one; empty if none failed."""
    latency: Latency | None
    """None if none was answered."""
    as_recorded: Share
    """Of the requests that this version answered live too: those to which it gave the same intent
    now. Less than all of them shows what masking does to the texts."""


class ShownSlot(_Strict):
    """A slot of an answer."""

    name: str
    value: str


class Shown(_Strict):
    """An answer, in short."""

    intent: str
    intent_confidence: float
    slots: tuple[ShownSlot, ...]
    sentiment: str
    out_of_scope_probability: float


class Example(_Strict):
    """A text on which the versions disagree."""

    text: str
    """Masked."""
    records: Annotated[int, Field(ge=1)]
    """Requests with this text."""
    kinds: tuple[Kind, ...]
    first: Shown | None
    second: Shown | None
    trace_id: str
    """Of one of the requests; empty if none was traced."""


class IntentChange(_Strict):
    """So many requests had one intent by the first version and another by the second."""

    first: str
    second: str
    records: Annotated[int, Field(ge=1)]


class ReplayResult(_Strict):
    """The whole result."""

    schema_version: Literal[1] = 1
    model: str
    first: Side
    second: Side
    records: Number
    """Requests that were replayed."""
    texts: Number
    """Different texts among them."""
    recorded_from: AwareDatetime
    recorded_until: AwareDatetime
    disagreements: Share
    """Requests in which the versions differ in any way."""
    by_kind: dict[Kind, Share]
    """Every kind; a request may be of several."""
    intent_changes: tuple[IntentChange, ...]
    """The most frequent first."""
    examples: tuple[Example, ...]
    """In the order of their first kind; of each, the most frequent first."""
    examples_left_out: Number
    """Texts on which the versions disagree beyond the examples."""
    out_of_scope_probability: float
    """Above it an utterance counted as out of scope."""
    confidence_step: float
    """From it on a confidence counted as moved."""
    tritonserver: str
    """Its version."""
    replayed_at: AwareDatetime
    seconds: NotNegative
    verdict: Verdict | None = None
    """About the second version; None until it is judged."""


def share_of(count: int, of: int) -> Share:
    """A share with its bounds.

    The bounds are Wilson's ("Probable inference, the law of succession, and statistical inference",
    JASA 22, 1927): they hold for small shares and for none at all, for one look at one sample.
    Requests with the same text count as if they were independent.
    """
    if not of:
        return Share(count=0, of=0, low=0.0, high=1.0)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0)
    seen = count / of
    middle = (seen + z * z / (2 * of)) / (1 + z * z / of)
    reach = z * math.sqrt(seen * (1 - seen) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    # None and all are bounds themselves, whatever the rounding says.
    low = max(0.0, middle - reach) if count else 0.0
    high = min(1.0, middle + reach) if count < of else 1.0
    return Share(count=count, of=of, low=low, high=high)

"""The attempts of one call: each within what is left of its deadline, with jittered pauses."""

import random
import re
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.client.errors import error_of
from serving.deadline import LONGEST_MS, METADATA_KEY, Deadline
from serving.errors import DeadlineExceeded, InvalidRequest, Unavailable

TRACEPARENT = "traceparent"
_TRACEPARENT_FORM = re.compile(r"[0-9a-f]{2}-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PROPAGATOR = TraceContextTextMapPropagator()

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a call that met UNAVAILABLE is tried again, and after which pauses.

    "Full jitter": the pause is drawn evenly from 0 to an exponentially growing bound, so that many
    clients which failed together do not return together (M. Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """

    max_attempts: int = 4
    first_pause_ms: float = 50.0
    longest_pause_ms: float = 1000.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {self.max_attempts}")
        if not 0 < self.first_pause_ms <= self.longest_pause_ms:
            raise ValueError(
                f"first_pause_ms ({self.first_pause_ms}) must be above 0 and not above "
                f"longest_pause_ms ({self.longest_pause_ms})"
            )

    def pause_ms(self, failures: int, generator: random.Random) -> float:
        """The pause after so many failures (at least 1), in milliseconds."""
        # Capped before the power: 2.0**1024 would overflow.
        bound = self.first_pause_ms * 2.0 ** min(failures - 1, 32)
        return generator.uniform(0.0, min(bound, self.longest_pause_ms))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attempt is sent with."""

    timeout_s: float
    metadata: Metadata


class Attempts:
    """One call's way through its attempts."""

    def __init__(
        self,
        deadline_ms: float,
        traceparent: str,
        policy: RetryPolicy,
        generator: random.Random,
        more: Metadata = (),
    ) -> None:
        """Starts the call's clock.

        Args:
            deadline_ms: time for all attempts and pauses together.
            traceparent: W3C trace context to send; "" for the one of the current span, if any.
            policy: number of attempts and pauses.
            generator: draws the pauses.
            more: metadata of every call, such as credentials.

        Raises:
            InvalidRequest: an unusable `deadline_ms` or `traceparent`.
        """
        # Written so that NaN fails as well.
        if not 0 < deadline_ms <= LONGEST_MS:
            raise InvalidRequest(
                "deadline_ms", f"must be above 0 and at most {LONGEST_MS:.0f} ms, got {deadline_ms}"
            )
        self.deadline_ms = deadline_ms
        self._deadline = Deadline.after_ms(deadline_ms)
        self._trace_metadata = _trace_metadata(traceparent)
        self._more = more
        self._policy = policy
        self._generator = generator
        self._made = 0

    @property
    def trace_id(self) -> str:
        """The trace id that is sent, or "" if the server will choose one."""
        for key, value in self._trace_metadata:
            if key == TRACEPARENT:
                return value.split("-")[1]
        return ""

    def begin(self) -> Attempt:
        """The next attempt, with all of the time that is left.

        Raises:
            DeadlineExceeded: no time is left.
        """
        remaining_ms = self._deadline.remaining_ms()
        if remaining_ms <= 0:
            raise DeadlineExceeded(f"{self.deadline_ms:g} ms passed before the call was sent")
        self._made += 1
        # At least the smallest number that three decimals can hold: 0 would be refused.
        announced = (METADATA_KEY, f"{max(remaining_ms, 0.001):.3f}")
        metadata = (announced, *self._trace_metadata, *self._more)
        return Attempt(timeout_s=remaining_ms / 1000.0, metadata=metadata)

    def pause_or_raise(self, failure: Any, *, begun: bool = False) -> float:
        """Seconds to wait before the next attempt, if there is one.

        Only UNAVAILABLE is tried again, and only if the pause ends before the deadline: the error
        at hand tells the caller more than a deadline exceeded by waiting.

        Args:
            failure: what gRPC raised.
            begun: whether a part of the reply has been handed out already.

        Raises:
            CartwrightError: the outcome of the call.
        """
        error = error_of(failure, deadline_ms=self.deadline_ms, trace_id=self.trace_id)
        if isinstance(error, Unavailable) and not begun and self._made < self._policy.max_attempts:
            pause_ms = self._policy.pause_ms(self._made, self._generator)
            if pause_ms < self._deadline.remaining_ms():
                return pause_ms / 1000.0
        raise error from failure


def _trace_metadata(traceparent: str) -> Metadata:
    if traceparent:
        if not _TRACEPARENT_FORM.fullmatch(traceparent):
            raise InvalidRequest(
                TRACEPARENT, f"must look like 00-<32 hex>-<16 hex>-<2 hex>, got {traceparent!r}"
            )
        return ((TRACEPARENT, traceparent),)
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())

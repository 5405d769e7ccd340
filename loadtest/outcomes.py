"""How one call ended."""

from dataclasses import dataclass

OK = "OK"
# A reply with at least one step replaced by its fallback.
DEGRADED = "DEGRADED"
# A stream that ended well without its last event.
INCOMPLETE = "INCOMPLETE"
# Never sent: the generator had as much under way as it may.
GENERATOR_SATURATED = "GENERATOR_SATURATED"
REFUSED = "RESOURCE_EXHAUSTED"
TIMED_OUT = "DEADLINE_EXCEEDED"

# Outcomes that are no failures.
ANSWERED = frozenset({OK, DEGRADED})
# What was let in; its latency is what the objective speaks of. Calls that met their deadline count
# with the time they took, so that latency cannot look better by failing.
ADMITTED = frozenset({OK, DEGRADED, INCOMPLETE, TIMED_OUT})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One call's end, in times since the start of the run and in milliseconds."""

    method: str
    # One of the names above, or a gRPC status code's name.
    name: str
    # When it was due (open model) or sent (closed model).
    scheduled_s: float
    # From the schedule to the sending; 0 in the closed model.
    lateness_ms: float = 0.0
    # From the sending to the end.
    service_ms: float = 0.0
    # From the schedule to the first event of a stream.
    first_event_ms: float | None = None
    # The server's own time as the reply tells it: each step, and "total".
    server_steps: tuple[tuple[str, float], ...] = ()
    # Steps that were replaced by their fallback.
    degraded_steps: tuple[str, ...] = ()
    # Of a refusal that names one.
    retry_after_ms: float | None = None

    @property
    def response_ms(self) -> float:
        """From the schedule to the end: what the caller waited."""
        return self.lateness_ms + self.service_ms

    @property
    def done_s(self) -> float:
        """When it ended, in seconds since the start of the run."""
        return self.scheduled_s + self.response_ms / 1000.0

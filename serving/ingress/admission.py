"""Who is let in under load: a bound on the calls in flight that follows their latency.

By Little's law, calls in flight = throughput x latency. At saturation the throughput stays, so the
latency of those that are let in is set by how many they are. The limit therefore falls by a tenth
whenever the latency leaves its objective, and rises by a step while it is kept and the limit is
felt (additive increase, multiplicative decrease: Chiu and Jain 1989). After a fall it waits for as
long as a call takes, because only then does the latency show the effect.

Each priority may fill a share of the limit. A call is refused only when every lower priority is
refused as well, and the more important ones still find room.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from serving.errors import Overloaded
from serving.settings import AdmissionSettings

# So full, the limit may well be felt at the edge, where the least important calls get less of it.
_NEARLY_FULL = 0.7
_TELL_AGAIN_S = 1.0


class Priority(Enum):
    """How much of the limit a call may find taken and still be let in."""

    # Somebody looks around: suggestions, which the next page asks for again.
    BROWSE = 0.8
    # Somebody asks or talks.
    TALK = 0.9
    # Somebody is about to buy, or has done something that must not be lost.
    BUY = 1.0


# Let in whatever the load, and not counted: all methods of a service.
UNLIMITED = (
    "/cartwright.v1.Models/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
# By the path of the method.
PRIORITIES: Mapping[str, Priority] = {
    "/cartwright.v1.Agent/Converse": Priority.TALK,
    "/cartwright.v1.Agent/ConverseStream": Priority.TALK,
    "/cartwright.v1.Agent/Understand": Priority.TALK,
    "/cartwright.v1.Agent/Answer": Priority.TALK,
    "/cartwright.v1.Agent/Recommend": Priority.BROWSE,
    "/cartwright.v1.Agent/Decide": Priority.BUY,
    "/cartwright.v1.Events/RecordEvents": Priority.BUY,
    "/cartwright.v1.Events/RecordFeedback": Priority.BUY,
    "/cartwright.v1.Knowledge/UpsertArticles": Priority.TALK,
    "/cartwright.v1.Knowledge/DeleteArticles": Priority.TALK,
    "/cartwright.v1.Knowledge/ListArticles": Priority.TALK,
}


@dataclass(kw_only=True)
class AdmissionStats:
    """What is there now and was counted since the start; read by metrics."""

    limit: int = 0
    in_flight: int = 0
    admitted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class Admission:
    """Counts the calls in flight and refuses beyond the limit, before any work is done.

    For one event loop.
    """

    def __init__(
        self, settings: AdmissionSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begins with the highest limit."""
        self._settings = settings
        self._clock = clock
        self._limit = float(settings.max_in_flight)
        self._in_flight = 0
        self._window_ends_s = 0.0
        # Of the calls that ended in this window: their number, the sum of their latencies, and
        # of latency / objective.
        self._ended = 0
        self._latencies_ms = 0.0
        self._ratios = 0.0
        # Until then the limit does not fall again.
        self._fallen_until_s = 0.0
        # Whether the limit kept somebody out in this window, or the edge may have done so for it.
        self._felt = False
        # What was last told, and when.
        self._told = 0
        self._told_s = -math.inf
        self._stats = AdmissionStats()

    @property
    def in_flight(self) -> int:
        """Calls that were let in and have not ended."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    def stats(self) -> AdmissionStats:
        """The counters; the same object each time, with its gauges brought up to date."""
        self._stats.limit = self.limit
        self._stats.in_flight = self._in_flight
        return self._stats

    def enter(self, priority: Priority) -> None:
        """Takes a place; give it back with `leave`.

        Raises:
            Overloaded: the places of this priority are taken.
        """
        if self._in_flight >= self._limit * priority.value:
            self._felt = True
            self._stats.refused[priority.name] += 1
            raise Overloaded(
                f"{self._in_flight} requests are in flight; this replica lets in "
                f"{math.ceil(self._limit * priority.value)} of this kind now",
                self._settings.retry_after_ms,
            )
        self._in_flight += 1
        if self._in_flight >= int(self.limit * _NEARLY_FULL):
            self._felt = True
        self._stats.admitted[priority.name] += 1

    def leave(self, latency_ms: float, objective_ms: float) -> None:
        """Gives a place back, and tells how long its call took."""
        self._in_flight -= 1
        self._ended += 1
        self._latencies_ms += latency_ms
        self._ratios += latency_ms / objective_ms
        now_s = self._clock()
        if now_s >= self._window_ends_s:
            self._adapt(now_s)
            self._window_ends_s = now_s + self._settings.window_ms / 1000.0

    def news(self) -> int | None:
        """The limit if whoever keeps it in front of this process has to be told, else None.

        That is when it has changed, and now and then because the other side may have forgotten it.
        """
        now_s = self._clock()
        limit = self.limit
        if limit == self._told and now_s - self._told_s < _TELL_AGAIN_S:
            return None
        self._told, self._told_s = limit, now_s
        return limit

    def _adapt(self, now_s: float) -> None:
        settings = self._settings
        if self._ratios / self._ended > settings.mean_share:
            if now_s >= self._fallen_until_s:
                self._limit = max(float(settings.min_in_flight), self._limit * 0.9)
                self._fallen_until_s = now_s + self._latencies_ms / self._ended / 1000.0
        elif self._felt:
            self._limit = min(float(settings.max_in_flight), self._limit + settings.step)
        self._ended = 0
        self._latencies_ms = 0.0
        self._ratios = 0.0
        self._felt = False

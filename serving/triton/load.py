"""How loaded a server is, from its own metrics.

    /metrics ─▶ parse ─▶ Totals ─▶ LoadMeter (what changed since the last look) ─▶ HostLoad

Read only when somebody asks: reading costs the server and the supervisor a few milliseconds.
"""

import asyncio
import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

# Queue time of fewer requests than these is left out: the first ones after a load are slow.
_ENOUGH_REQUESTS = 3
_LINE = re.compile(r"^(nv_inference_\w+)\{([^}]*)\} (\S+)$")
_MODEL = re.compile(r'(?:^|,)model="([^"]*)"')

_SUCCESS = "nv_inference_request_success"
_FAILURE = "nv_inference_request_failure"
_ROWS = "nv_inference_count"
_QUEUE_US = "nv_inference_queue_duration_us"
_PENDING = "nv_inference_pending_request_count"
_WANTED = frozenset({_SUCCESS, _FAILURE, _ROWS, _QUEUE_US, _PENDING})


class MetricsUnavailable(Exception):
    """The metrics could not be read; the text says why."""


@dataclass(frozen=True, kw_only=True)
class ModelTotals:
    """Counters of one model, over all its versions, since the server started."""

    requests: float = 0.0
    failures: float = 0.0
    rows: float = 0.0
    queue_us: float = 0.0
    # Not a counter: requests that wait now.
    pending: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HostLoad:
    """Load of a server between two looks; `pending` at the second one."""

    # Milliseconds in the queue a request, of the model where requests waited longest.
    queue_ms: float
    # Requests in the queues of all models.
    pending: float
    requests_per_s: float
    rows_per_s: float

    def report(self) -> dict[str, float]:
        """By the names that the rules of scaling know."""
        return {
            "queue_ms": self.queue_ms,
            "pending": self.pending,
            "requests_per_s": self.requests_per_s,
            "rows_per_s": self.rows_per_s,
        }


def parse_metrics(text: str) -> dict[str, ModelTotals]:
    """Totals by model out of Triton's metrics in Prometheus's text format; the rest is skipped."""
    sums: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found[1] not in _WANTED:
            continue
        model = _MODEL.search(found[2])
        if model is None:
            continue
        value = float(found[3])
        if math.isfinite(value):
            of_model = sums.setdefault(model[1], {})
            of_model[found[1]] = of_model.get(found[1], 0.0) + value
    return {
        model: ModelTotals(
            requests=values.get(_SUCCESS, 0.0),
            failures=values.get(_FAILURE, 0.0),
            rows=values.get(_ROWS, 0.0),
            queue_us=values.get(_QUEUE_US, 0.0),
            pending=values.get(_PENDING, 0.0),
        )
        for model, values in sums.items()
    }


def has_waiting(totals: Mapping[str, ModelTotals]) -> bool:
    """Whether any request waits in a queue."""
    return any(model.pending > 0 for model in totals.values())


def requests_seen(totals: Mapping[str, ModelTotals]) -> float:
    """Requests that came to an end, well or not."""
    return sum(model.requests + model.failures for model in totals.values())


def load_between(
    before: Mapping[str, ModelTotals], after: Mapping[str, ModelTotals], seconds: float
) -> HostLoad | None:
    """Load from two looks at one server, `seconds` apart.

    None if it or one of its models was started anew in between.
    """
    requests = rows = queue_ms = 0.0
    for model, now in after.items():
        then = before.get(model, ModelTotals())
        if now.requests < then.requests:
            return None
        new = now.requests - then.requests
        requests += new
        rows += max(0.0, now.rows - then.rows)
        if new >= _ENOUGH_REQUESTS:
            queue_ms = max(queue_ms, (now.queue_us - then.queue_us) / new / 1000.0)
    return HostLoad(
        queue_ms=max(0.0, queue_ms),
        pending=sum(model.pending for model in after.values()),
        requests_per_s=requests / seconds,
        rows_per_s=rows / seconds,
    )


@dataclass
class LoadMeter:
    """Remembers the last look at a server; another URL is another server."""

    _url: str = ""
    _read_s: float = 0.0
    _totals: Mapping[str, ModelTotals] = field(default_factory=dict)

    def note(self, url: str, totals: Mapping[str, ModelTotals], now_s: float) -> HostLoad | None:
        """Takes a look at time `now_s`; returns the load since the last one of the same server."""
        load = None
        if url == self._url and now_s > self._read_s:
            load = load_between(self._totals, totals, now_s - self._read_s)
        self._url, self._read_s, self._totals = url, now_s, totals
        return load


async def read_metrics(url: str, timeout_s: float) -> dict[str, ModelTotals]:
    """Reads a server's metrics, without holding up the event loop.

    Raises:
        MetricsUnavailable: no answer in time, or none that can be read.
    """
    try:
        text = await asyncio.to_thread(_fetch, url, timeout_s)
        return parse_metrics(text)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise MetricsUnavailable(f"{url}: {error}") from error


def _fetch(url: str, timeout_s: float) -> str:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        content: bytes = response.read()
    return content.decode("utf-8")

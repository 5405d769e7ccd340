"""Batch sizes really formed, out of what is counted before and after a stretch of time.

Triton counts rows, requests and executions of each model: rows a request is what a replica's
coalescing formed, rows an execution what Triton's batcher made of it. What the replicas publish
themselves would be read here too.
"""

import re
import urllib.request
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_TIMEOUT_S = 5.0
_PORT = re.compile(r"tritonserver .*--metrics-port=(\d+)")
_COUNTER = re.compile(
    r"^nv_inference_(?P<what>count|exec_count|request_success)"
    r'\{model="(?P<model>[^".]+)(?:\.\d+)?",[^}]*\} (?P<value>\S+)',
    re.MULTILINE,
)
_FIELDS = {"count": "rows", "exec_count": "executions", "request_success": "requests"}


class Counts(NamedTuple):
    """What one model did so far."""

    rows: float = 0.0
    requests: float = 0.0
    executions: float = 0.0


def metrics_urls(command_lines: Sequence[str]) -> list[str]:
    """Where the tritonservers with these command lines publish their metrics."""
    ports = {found.group(1) for line in command_lines if (found := _PORT.search(line))}
    return [f"http://127.0.0.1:{port}/metrics" for port in sorted(ports)]


def read_counts(urls: Sequence[str]) -> dict[str, Counts]:
    """Counts so far by model, over all servers.

    Raises:
        OSError: a server does not answer.
    """
    pages = []
    for url in urls:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
            pages.append(reply.read().decode())
    return parse_counts("\n".join(pages))


def parse_counts(text: str) -> dict[str, Counts]:
    """Counts by model out of Triton's Prometheus text; versions and servers are added up."""
    sums: dict[str, Counts] = {}
    for found in _COUNTER.finditer(text):
        counts = sums.get(found["model"], Counts())
        field = _FIELDS[found["what"]]
        sums[found["model"]] = counts._replace(
            **{field: getattr(counts, field) + float(found["value"])}
        )
    return sums


def rows_per_execution(
    before: Mapping[str, Counts], after: Mapping[str, Counts]
) -> dict[str, float]:
    """Mean rows of one execution between two looks, by model that was executed."""
    return _rows_per(before, after, "executions")


def rows_per_request(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> dict[str, float]:
    """Mean rows of one request between two looks, by model that was asked."""
    return _rows_per(before, after, "requests")


def _rows_per(
    before: Mapping[str, Counts], after: Mapping[str, Counts], field: str
) -> dict[str, float]:
    means = {}
    for model, counts in sorted(after.items()):
        earlier = before.get(model, Counts())
        times = getattr(counts, field) - getattr(earlier, field)
        if times > 0:
            means[model] = (counts.rows - earlier.rows) / times
    return means

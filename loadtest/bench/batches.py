"""Batch sizes really formed, out of what is counted before and after a stretch of time."""

import re
import urllib.request
from collections.abc import Mapping, Sequence

_TIMEOUT_S = 5.0
_PORT = re.compile(r"tritonserver .*--metrics-port=(\d+)")
_COUNTER = re.compile(
    r'^nv_inference_(?P<what>count|exec_count)\{model="(?P<model>[^"]+)",[^}]*\} (?P<value>\S+)',
    re.MULTILINE,
)

# Rows and executions by model.
Counters = Mapping[str, tuple[float, float]]


def metrics_urls(command_lines: Sequence[str]) -> list[str]:
    """Where the tritonservers with these command lines publish their metrics."""
    ports = {found.group(1) for line in command_lines if (found := _PORT.search(line))}
    return [f"http://127.0.0.1:{port}/metrics" for port in sorted(ports)]


def read_counters(urls: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Rows and executions so far by model, over all servers.

    Raises:
        OSError: a server does not answer.
    """
    sums: dict[str, tuple[float, float]] = {}
    for url in urls:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
            for model, (rows, runs) in parse_counters(reply.read().decode()).items():
                before = sums.get(model, (0.0, 0.0))
                sums[model] = (before[0] + rows, before[1] + runs)
    return sums


def parse_counters(text: str) -> dict[str, tuple[float, float]]:
    """Rows and executions by model out of Triton's Prometheus text; versions are added up."""
    sums: dict[str, tuple[float, float]] = {}
    for found in _COUNTER.finditer(text):
        rows, runs = sums.get(found["model"], (0.0, 0.0))
        value = float(found["value"])
        if found["what"] == "count":
            rows += value
        else:
            runs += value
        sums[found["model"]] = (rows, runs)
    return sums


def mean_sizes(before: Counters, after: Counters) -> dict[str, float]:
    """Mean rows of one execution between two looks, by model that was executed."""
    sizes = {}
    for model, (rows, runs) in sorted(after.items()):
        rows_before, runs_before = before.get(model, (0.0, 0.0))
        if runs > runs_before:
            sizes[model] = (rows - rows_before) / (runs - runs_before)
    return sizes

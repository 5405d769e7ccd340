"""Latency and CPU of Understand and Converse: closed loop, 1 and 16 in flight, side by side.

Starts a stack of its own (`cartwright serve` on a free port) unless --running is given, and prints
requests/s, p50, p99 and, for a stack of its own, CPU milliseconds a request by process.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from serving.cli.connection import default_address
from serving.cli.local_stack import local_stack
from serving.client import AsyncCommerceClient

DEADLINE_MS = 10_000.0
TEXTS = (
    "where is my order 12345?",
    "how do I return a pair of shoes that do not fit",
    "can you recommend a coffee mug",
    "which payment methods do you take",
    "this is the second time I ask, I want my money back",
    "how long does delivery to France take?",
    "do you have running shoes in size 42",
    "I forgot my password",
)
# Name of a process in the tree of `cartwright serve`, by a word of its command line.
PROCESSES = (
    ("haproxy", "haproxy"),
    ("triton_python_backend_stub", "model (ONNX Runtime)"),
    ("tritonserver", "tritonserver"),
    (":Agent", "replica"),
    (":ModelHost", "host supervisor"),
)

# The client, the worker's name, and which of its requests this is.
Call = Callable[[AsyncCommerceClient, str, int], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured load."""

    method: str
    in_flight: int
    requests: int
    errors: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    # By process, CPU milliseconds a request; empty for a stack that is not our child.
    cpu_ms: dict[str, float]


async def _understand(client: AsyncCommerceClient, _worker: str, index: int) -> object:
    return await client.understand(TEXTS[index % len(TEXTS)], deadline_ms=DEADLINE_MS)


async def _converse(client: AsyncCommerceClient, worker: str, index: int) -> object:
    # A new session after as many turns as there are texts.
    return await client.converse(
        TEXTS[index % len(TEXTS)],
        session_id=f"{worker}-{index // len(TEXTS)}",
        deadline_ms=DEADLINE_MS,
    )


METHODS: dict[str, Call] = {"Understand": _understand, "Converse": _converse}


async def measure(
    address: str, method: str, in_flight: int, seconds: float, tree: psutil.Process | None
) -> Result:
    """Runs one closed loop: each of `in_flight` workers sends its next request after a reply."""
    call = METHODS[method]
    latencies_ms: list[float] = []
    errors = 0

    async with AsyncCommerceClient(address, channels=min(4, in_flight)) as client:
        run = f"bench-{uuid.uuid4().hex[:8]}"
        for index in range(len(TEXTS)):
            await call(client, f"{run}-warm-up", index)
        before = cpu_seconds(tree)
        began = time.perf_counter()

        async def work(worker: str) -> None:
            nonlocal errors
            numbers = count()
            while time.perf_counter() - began < seconds:
                sent = time.perf_counter()
                try:
                    await call(client, worker, next(numbers))
                except Exception as error:  # noqa: BLE001 - counted, and the first one shown
                    if not errors:
                        print(f"{method}: {error!r}", file=sys.stderr)
                    errors += 1
                else:
                    latencies_ms.append((time.perf_counter() - sent) * 1000.0)

        await asyncio.gather(*(work(f"{run}-{n}") for n in range(in_flight)))
        elapsed_s = time.perf_counter() - began
        after = cpu_seconds(tree)
    done = max(len(latencies_ms), 1)
    return Result(
        method=method,
        in_flight=in_flight,
        requests=len(latencies_ms),
        errors=errors,
        requests_per_s=len(latencies_ms) / elapsed_s,
        p50_ms=float(np.percentile(latencies_ms or [float("nan")], 50)),
        p99_ms=float(np.percentile(latencies_ms or [float("nan")], 99)),
        cpu_ms={
            name: (after[name] - before.get(name, 0.0)) * 1000.0 / done
            for name in after
            if after[name] - before.get(name, 0.0) > 0
        },
    )


def cpu_seconds(tree: psutil.Process | None) -> dict[str, float]:
    """CPU seconds so far, summed by kind of process, over a process and its descendants."""
    sums: dict[str, float] = {}
    for process in [tree, *tree.children(recursive=True)] if tree else []:
        try:
            line = " ".join(process.cmdline())
            times = process.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        name = next((name for word, name in PROCESSES if word in line), "rest of Ray")
        sums[name] = sums.get(name, 0.0) + times.user + times.system
    return sums


def print_results(results: list[Result]) -> None:
    """The table, and what it was measured on."""
    packages = ("ray", "nvidia-pytriton", "onnxruntime", "grpcio")
    table = Table(title="closed loop")
    for column in ("method", "in flight", "requests/s", "p50 ms", "p99 ms", "errors", "CPU ms"):
        table.add_column(column, justify="left" if column in ("method", "CPU ms") else "right")
    for r in results:
        table.add_row(
            r.method,
            str(r.in_flight),
            f"{r.requests_per_s:.0f}",
            f"{r.p50_ms:.1f}",
            f"{r.p99_ms:.1f}",
            str(r.errors),
            ", ".join(f"{name} {ms:.2f}" for name, ms in sorted(r.cpu_ms.items())),
        )
    console = Console(width=max(140, Console().width))
    console.print(table)
    console.print(
        f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages),
        highlight=False,
    )


def main() -> None:
    """Measures every method and level in turn, several rounds, and prints the median round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--running",
        action="store_true",
        help="load this folder's running stack instead",
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", type=Path, help="write all rounds there as well")
    arguments = parser.parse_args()

    def run(address: str, tree: psutil.Process | None) -> list[Result]:
        return [
            asyncio.run(measure(address, method, level, arguments.seconds, tree))
            for _ in range(arguments.rounds)
            for method in METHODS
            for level in arguments.in_flight
        ]

    if arguments.running:
        results = run(default_address(), None)
    else:
        with local_stack({}) as stack:
            results = run(stack.address, stack.process)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) for r in results], indent=2))
    medians = []
    for method in METHODS:
        for level in arguments.in_flight:
            rounds = [r for r in results if (r.method, r.in_flight) == (method, level)]
            medians.append(sorted(rounds, key=lambda r: r.requests_per_s)[len(rounds) // 2])
    print_results(medians)
    raise SystemExit(1 if any(r.errors for r in results) else 0)


if __name__ == "__main__":
    main()

"""`cartwright models traffic`: which version answered how many calls, how fast, and how well."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table
from rich.text import Text

from serving.cli.document import print_document
from serving.cli.ledger_options import ledger_options, opened
from serving.cli.moments import moment_ms
from serving.cli.render import stdout_console
from serving.cli.tables import plain_table
from serving.ledger.entry import Entry
from serving.ledger.reader import LedgerReader


@dataclass
class Traffic:
    """Calls that one version answered in one arm."""

    version: int
    arm: str
    durations_ms: list[float] = field(default_factory=list)
    failed: int = 0
    degraded: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        p50_ms, p99_ms = np.percentile(self.durations_ms, (50, 99)).tolist()
        return {
            "version": self.version,
            "arm": self.arm,
            "calls": len(self.durations_ms),
            "failed": self.failed,
            "degraded": self.degraded,
            "p50_ms": round(p50_ms, 1),
            "p99_ms": round(p99_ms, 1),
        }


def traffic_of(
    reader: LedgerReader, model: str, since_ms: int, until_ms: int, method: str = ""
) -> list[Traffic]:
    """By version and arm, what the ledger knows of a span of time.

    Args:
        reader: of the ledger.
        model: that had a part in the calls.
        since_ms: Unix time.
        until_ms: Unix time; not included.
        method: only of this one; "" for all.
    """
    found: dict[tuple[int, str], Traffic] = {}
    for entry in reader.read(since_ms, until_ms):
        if not isinstance(entry, Entry) or method not in ("", entry.method):
            continue
        for use in entry.models:
            if use.model == model:
                one = found.setdefault((use.version, use.arm), Traffic(use.version, use.arm))
                one.durations_ms.append(entry.duration_ms)
                one.failed += entry.code != "OK"
                one.degraded += bool(entry.degraded)
    return [found[key] for key in sorted(found)]


@click.command("traffic")
@click.argument("model")
@click.option("--since", default="10m", show_default=True, help="So long ago, or a time in UTC.")
@click.option("--method", default="", help="Only calls of this method, e.g. Understand.")
@ledger_options
def traffic(
    model: str, since: str, method: str, folder: Path | None, config: Path | None, as_json: bool
) -> None:
    """Show which versions of MODEL answered, by arm: calls, failures, latency of the whole call.

    Reads the ledger's folder on this machine.
    """
    reader, as_json = opened(folder, config, as_json)
    now_s = time.time()
    rows = traffic_of(
        reader, model, moment_ms("--since", since, now_s), round(now_s * 1000) + 1, method
    )
    documents = [row.document() for row in rows]
    if as_json:
        print_document({"model": model, "since": since, "traffic": documents})
        return
    stdout_console().print(_table(model, documents))


def _table(model: str, documents: list[dict[str, Any]]) -> Table:
    table = plain_table(model, "arm", "calls", "share", "failed", "degraded", "p50 ms", "p99 ms")
    total = sum(row["calls"] for row in documents)
    for row in documents:
        table.add_row(
            str(row["version"]),
            Text(row["arm"]),
            str(row["calls"]),
            f"{row['calls'] / total:.1%}",
            str(row["failed"]),
            str(row["degraded"]),
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
        )
    return table

"""Decisions as lines of JSON. What is logged is what `cartwright autoscale replay` reads.

    {"time": 1790000000.0, "deployment": "ModelHost", "kind": "hosts", "running": 1, "target": 1,
     "queued": 0.0, "replicas": {"a1b2": {"age_s": 0.4, "queue_ms": 31.0, "pending": 12.0,
     "requests_per_s": 80.0, "rows_per_s": 95.0}}, "decision": {"action": "up", "target": 2,
     "reason": "load", "text": "...", "pressure": 3.1, "dry_run": false}}

`decision` is not read back. A replica of a pipeline reports `in_flight` instead of the four.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from serving.errors import StartupError
from serving.scaling.decide import Decision
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    QUEUE_MS,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)

Kind = Literal["pipeline", "hosts"]

# What a replica of each kind has to report.
VALUES: dict[str, tuple[str, ...]] = {
    "pipeline": (IN_FLIGHT,),
    "hosts": (QUEUE_MS, PENDING, REQUESTS_PER_S, ROWS_PER_S),
}
_AGE = "age_s"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: a deployment at one moment; its observation's clock is Unix time."""

    deployment: str
    kind: Kind
    seen: Observation


def write_entry(
    deployment: str,
    kind: Kind,
    unix_time_s: float,
    seen: Observation,
    decision: Decision,
    *,
    dry_run: bool,
) -> str:
    """One line, without its end."""
    return json.dumps(
        {
            "time": round(unix_time_s, 3),
            "deployment": deployment,
            "kind": kind,
            "running": seen.running,
            "target": seen.target,
            "queued": round(seen.queued, 3),
            "replicas": {
                report.replica: {
                    _AGE: round(report.age_s, 3),
                    **{name: round(value, 3) for name, value in report.values.items()},
                }
                for report in seen.reports
            },
            "decision": {
                "action": decision.action.value,
                "target": decision.target,
                "reason": decision.reason.value,
                "text": decision.text,
                "pressure": None if decision.pressure is None else round(decision.pressure, 3),
                "dry_run": dry_run,
            },
        }
    )


def read_entries(lines: Iterable[str], name: str) -> Iterator[Entry]:
    """Entries of a trace; empty lines are left out.

    Args:
        lines: of the file.
        name: of the file, for errors.

    Raises:
        StartupError: a line is no entry; names the line, the field and the reason.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            document = json.loads(line)
        except json.JSONDecodeError as error:
            raise StartupError(f"{where}: no JSON: {error}") from error
        if not isinstance(document, dict):
            raise StartupError(f"{where}: must be an object, got {type(document).__name__}")
        yield _entry(document, where)


def _entry(document: dict[str, Any], where: str) -> Entry:
    kind = document.get("kind")
    if kind not in VALUES:
        raise StartupError(f"{where}: kind: must be one of {sorted(VALUES)}, got {kind!r}")
    deployment = document.get("deployment")
    if not isinstance(deployment, str) or not deployment:
        raise StartupError(f"{where}: deployment: must be a name, got {deployment!r}")
    replicas = document.get("replicas")
    if not isinstance(replicas, dict):
        raise StartupError(f"{where}: replicas: must be an object, got {replicas!r}")
    reports = []
    for replica, values in replicas.items():
        if not isinstance(values, dict):
            raise StartupError(f"{where}: replicas.{replica}: must be an object, got {values!r}")
        inside = f"{where}: replicas.{replica}"
        reports.append(
            ReplicaReport(
                replica=replica,
                age_s=_number(values, _AGE, inside),
                values={value: _number(values, value, inside) for value in VALUES[kind]},
            )
        )
    return Entry(
        deployment=deployment,
        kind=kind,
        seen=Observation(
            time_s=_number(document, "time", where),
            running=_count(document, "running", where),
            target=_count(document, "target", where),
            queued=_number(document, "queued", where) if "queued" in document else 0.0,
            reports=tuple(reports),
        ),
    )


def _number(document: dict[str, Any], field: str, where: str) -> float:
    value = document.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StartupError(f"{where}: {field}: must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise StartupError(f"{where}: {field}: must be finite and not negative, got {value!r}")
    return float(value)


def _count(document: dict[str, Any], field: str, where: str) -> int:
    value = _number(document, field, where)
    if value != int(value):
        raise StartupError(f"{where}: {field}: must be a whole number, got {value!r}")
    return int(value)

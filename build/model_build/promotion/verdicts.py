"""Verdicts of what gates found: about whom, when, and on which machine."""

import platform
import time
from collections.abc import Mapping
from importlib import metadata

from model_build.promotion.finding import Finding
from model_build.tune.machine import this_machine
from serving.versions.verdict import Gate, Verdict


def verdict_of(
    gate: Gate,
    finding: Finding,
    *,
    model: str,
    version: int,
    against: int | None,
    environment: Mapping[str, str] | None = None,
) -> Verdict:
    """What was found, by this machine and now.

    Args:
        gate: that found it.
        finding: what it found.
        model: name of the model.
        version: that was judged.
        against: that it was compared with, if with any.
        environment: versions of further tools.
    """
    return Verdict(
        gate=gate,
        model=model,
        version=version,
        against=against,
        outcome=finding.outcome,
        reason=finding.reason,
        figures=finding.figures,
        examples=finding.examples,
        at_ms=time.time_ns() // 1_000_000,
        environment={**environment_here(), **(environment or {})},
    )


def environment_here() -> dict[str, str]:
    """The machine, and versions of the tools that figures depend on."""
    machine = this_machine()
    return {
        "processor": machine.processor,
        "cores": str(machine.cores),
        "memory_gib": str(machine.memory_gib),
        "system": machine.system,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("cartwright", "numpy", "onnxruntime")},
    }

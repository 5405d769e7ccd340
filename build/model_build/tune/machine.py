"""The machine of a measurement, and the versions of what was measured."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

from model_build.serving_profile import Machine
from serving.models.manifest import ModelManifest


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def this_machine() -> Machine:
    """What figures depend on."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=platform.platform(),
    )


def versions_of(manifest: ModelManifest, tritonserver: str) -> dict[str, str]:
    """Versions by name."""
    return {
        "model": str(manifest.version),
        "artifact": manifest.served_artifact,
        "build_key": manifest.build_key,
        "tritonserver": tritonserver,
        "onnxruntime": metadata.version("onnxruntime"),
        "python": platform.python_version(),
        "cartwright": metadata.version("cartwright"),
    }


def _processor() -> str:
    """Its name where the kernel tells it, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()

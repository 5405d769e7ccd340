"""What a sweep leaves behind: results, plot, profile and configuration."""

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from model_build.publish import locked
from model_build.serving_profile import ServingProfile, TunedFigures, TunedLoad
from model_build.spec import ModelSpec
from model_build.triton_config import FILE_NAME, write_config
from model_build.tune.machine import this_machine, versions_of
from model_build.tune.options import TARGET
from model_build.tune.plot import write_plot
from model_build.tune.report import document
from model_build.tune.sweep import SweepOptions, SweepResult
from serving.errors import StartupError
from serving.models.repository import PublishedVersion

RESULT_FILE = "tune.json"
PLOT_FILE = "tune.png"


def profile_of(
    spec: ModelSpec,
    version: PublishedVersion,
    options: SweepOptions,
    result: SweepResult,
    rows: int,
    tritonserver: str,
) -> ServingProfile:
    """The profile of a sweep in which a point was chosen."""
    if result.choice is None:
        raise ValueError("a sweep without a choice makes no profile")
    chosen = result.choice.chosen
    return ServingProfile(
        model=spec.name,
        target=TARGET,
        hosting=chosen.point,
        load=TunedLoad(
            concurrency=options.concurrency,
            rows_per_request=rows,
            p99_limit_ms=options.p99_limit_ms,
        ),
        figures=TunedFigures(
            requests_per_s=round(chosen.requests_per_s, 1),
            p50_ms=round(chosen.p50_ms, 2),
            p99_ms=round(chosen.p99_ms, 2),
            cpu_ms_per_request=round(chosen.cpu_ms, 3),
            mean_batch_rows=round(chosen.mean_batch_rows, 2),
            instance_memory_mib=round(chosen.memory_mib, 1),
            looks=chosen.looks,
            noise_band=round(result.noise_band, 4),
        ),
        machine=this_machine(),
        versions=versions_of(version.manifest, tritonserver),
        tuned_at=datetime.now(UTC).replace(microsecond=0),
        command=shlex.join(["cartwright", *sys.argv[1:]]),
    )


def write_all(
    repository: Path,
    folder: Path,
    spec: ModelSpec,
    options: SweepOptions,
    result: SweepResult,
    profile: ServingProfile,
    *,
    plots: bool,
) -> list[Path]:
    """Writes the results, then what they mean for serving.

    Raises:
        StartupError: a file cannot be written, or a build is under way; names it.
    """
    written = [folder / RESULT_FILE]
    found = {
        **document(spec.name, options, result),
        "machine": profile.machine.model_dump(),
        "versions": profile.versions,
        "tuned_at": profile.tuned_at.isoformat(),
        "command": profile.command,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written[0].write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        if plots:
            written.append(folder / PLOT_FILE)
            write_plot(written[-1], spec.name, options, result)
    except OSError as error:
        raise StartupError(f"{error.filename}: cannot be written: {error.strerror}") from error
    with locked(repository):
        written.append(profile.write(repository))
        if write_config(repository, spec, TARGET):
            written.append(repository / spec.name / FILE_NAME)
    return written

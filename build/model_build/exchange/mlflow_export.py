"""A published version -> the next version of a registered model in MLflow.

Its files are the artifacts of a run, beside the figures that were measured when it was built. The
model version is registered after the last of them has arrived.
"""

import time

from model_build.exchange.mlflow_registry import MlflowRegistry, RegisteredVersion, Run
from model_build.exchange.mlflow_uri import MlflowUri
from serving.errors import InvalidRequest
from serving.models.manifest import FILE_NAME as MANIFEST_FILE
from serving.models.repository import PublishedVersion

EXPERIMENT = "cartwright"


def export_to_mlflow(
    registry: MlflowRegistry, version: PublishedVersion, target: MlflowUri
) -> RegisteredVersion:
    """Registers a version as the next one of `target`, and sets its alias if it has one.

    Raises:
        InvalidRequest: `target` has a version number; MLflow gives those.
        StartupError: a file of the version is missing, damaged or cannot be read.
        CartwrightError: see `mlflow_http`. A run that was begun is marked as failed.
    """
    if target.version is not None:
        raise InvalidRequest(
            "URI", f"must be mlflow:/NAME or mlflow:/NAME@ALIAS to register, got {target}"
        )
    version.verify()
    manifest = version.manifest
    label = f"{manifest.model}/{manifest.version}"
    run = registry.start_run(EXPERIMENT, label, _now_ms())
    stored = False
    try:
        _store(registry, run, version)
        stored = True
    finally:
        registry.end_run(run, succeeded=stored, now_ms=_now_ms())
    registered = registry.register(target.name, run, {"cartwright.version": label})
    if target.alias is not None:
        registry.set_alias(target.alias, registered)
    return registered


def _store(registry: MlflowRegistry, run: Run, version: PublishedVersion) -> None:
    manifest = version.manifest
    parameters = {
        "model": manifest.model,
        "build_key": manifest.build_key,
        "data": manifest.data_name,
        "seed": str(manifest.seed),
        "served_artifact": manifest.served_artifact,
    }
    registry.log(run, manifest.metrics, parameters, _now_ms())
    for artifact in manifest.artifacts:
        run.artifacts.store(version.folder / artifact.path)
    run.artifacts.store(version.folder / MANIFEST_FILE)


def _now_ms() -> int:
    return int(time.time() * 1000)

"""A version from an MLflow registry -> the next version in the model repository, if it is new.

    find ─▶ manifest ─▶ check ─▶ here already? ─▶ download ─▶ digests, one run ─▶ publish

The artifacts of the registered version must be those of a version folder: `manifest.json` and the
files that it lists. Whatever lies beside them, such as MLflow's own `MLmodel`, is left out. Nothing
is in the repository before everything has been checked.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from model_build.exchange.mlflow_files import RemoteFolder
from model_build.exchange.mlflow_registry import MlflowRegistry, RegisteredVersion
from model_build.exchange.version_check import SERVED_FILE, check_file, check_manifest, check_model
from model_build.publish import find_same, locked, publish, remove_leftovers
from model_build.spec import ModelSpec
from model_build.triton_config import FILE_NAME as CONFIG_FILE
from model_build.triton_config import write_config
from serving.errors import InvalidRequest, StartupError
from serving.models.manifest import FILE_NAME as MANIFEST_FILE
from serving.models.manifest import ModelManifest, OriginRecord
from serving.models.repository import ModelRepository

# Far above any manifest, far below what fills a disk.
_LARGEST_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of an import."""

    source: RegisteredVersion
    # Of the version in this repository.
    manifest: ModelManifest
    # False: it was here already, and nothing was published.
    new: bool


def import_version(
    registry: MlflowRegistry, source: RegisteredVersion, repository: Path
) -> Imported:
    """Publishes a registered version, unless the same one is here.

    Raises:
        InvalidRequest: it is no version that can be served here; names the file or field.
        StartupError: something cannot be written, or a build is under way in the repository.
        CartwrightError: see `mlflow_http`.
    """
    with tempfile.TemporaryDirectory(prefix="cartwright-import-") as scratch:
        folder = Path(scratch)
        try:
            remote = registry.artifacts(source)
            manifest = _fetch_manifest(remote, folder)
            spec = check_manifest(manifest)
            present = find_same(repository, manifest)
            if present is not None:
                return _present(repository, manifest.model, present, source)
            _fetch_files(remote, manifest, spec, folder)
        except InvalidRequest as error:
            raise InvalidRequest(f"{source}: {error.field}", error.reason) from error
        with locked(repository):
            remove_leftovers(repository)
            # Somebody may have been faster.
            present = find_same(repository, manifest)
            if present is not None:
                return _present(repository, manifest.model, present, source)
            if not (repository / manifest.model / CONFIG_FILE).is_file():
                write_config(repository, spec)
            published = _publish(registry.url, source, manifest, folder, repository)
    return Imported(source=source, manifest=published, new=True)


def _fetch_manifest(remote: RemoteFolder, folder: Path) -> ModelManifest:
    remote.fetch(MANIFEST_FILE, folder / MANIFEST_FILE, _LARGEST_MANIFEST_BYTES)
    try:
        return ModelManifest.read(folder)
    except StartupError as error:
        # The path of a temporary file says nothing to anybody.
        reason = error.message.removeprefix(f"{folder / MANIFEST_FILE}: ")
        raise InvalidRequest(MANIFEST_FILE, reason) from error


def _fetch_files(
    remote: RemoteFolder, manifest: ModelManifest, spec: ModelSpec, folder: Path
) -> None:
    for artifact in manifest.artifacts:
        path = folder / artifact.path
        remote.fetch(artifact.path, path, artifact.size_bytes)
        check_file(path, artifact)
    check_model(folder / SERVED_FILE, spec)


def _present(repository: Path, model: str, version: int, source: RegisteredVersion) -> Imported:
    manifest = ModelRepository(repository).version(model, version).manifest
    return Imported(source=source, manifest=manifest, new=False)


def _publish(
    registry: str,
    source: RegisteredVersion,
    manifest: ModelManifest,
    folder: Path,
    repository: Path,
) -> ModelManifest:
    origin = OriginRecord(
        registry=registry, name=source.name, version=source.version, run_id=source.run_id
    )

    def fill(draft: Path, version: int) -> ModelManifest:
        for artifact in manifest.artifacts:
            shutil.copyfile(folder / artifact.path, draft / artifact.path)
        return manifest.model_copy(
            update={
                "version": version,
                "published_at_ms": int(time.time() * 1000),
                "origin": origin,
            }
        )

    return publish(repository, manifest.model, fill)

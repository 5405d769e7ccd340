import os
from pathlib import Path

import pytest

from serving.errors import StartupError
from serving.models.manifest import ArtifactRecord, sha256_of
from serving.models.repository import ModelRepository
from serving.models.verification import VerifiedModels
from serving.models.version import ModelVersion
from tests.tiny_models import manifest


def publish(root: Path, version: int, content: bytes = b"weights") -> Path:
    folder = root / "m" / str(version)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    path.write_bytes(content)
    record = ArtifactRecord(
        kind="onnx", path=path.name, sha256=sha256_of(path), size_bytes=len(content)
    )
    manifest("m", version=version, artifacts=(record,)).write(folder)
    return path


def test_a_file_that_changed_after_it_was_compared_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path, 1)
    models = VerifiedModels(ModelRepository(tmp_path))
    models.verify(ModelVersion("m", 1))
    # As long as before, and its time put back: still another inode.
    times = path.stat()
    replacement = path.with_name("other")
    replacement.write_bytes(b"sthgiew")
    os.utime(replacement, ns=(times.st_atime_ns, times.st_mtime_ns))
    replacement.replace(path)
    with pytest.raises(StartupError, match=r"model\.onnx: corrupt"):
        models.verify(ModelVersion("m", 1))


def test_files_that_are_the_same_are_not_read_again(tmp_path: Path) -> None:
    path = publish(tmp_path, 1)
    models = VerifiedModels(ModelRepository(tmp_path))
    models.verify(ModelVersion("m", 1))
    # Changed in place without a trace: only reading would show it.
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    models.verify(ModelVersion("m", 1))
    with pytest.raises(StartupError, match="corrupt"):
        VerifiedModels(ModelRepository(tmp_path)).verify(ModelVersion("m", 1))


def test_a_new_version_is_read(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    models = VerifiedModels(ModelRepository(tmp_path))
    models.verify(ModelVersion("m", 1))
    publish(tmp_path, 2).write_bytes(b"spoilt")
    with pytest.raises(StartupError, match=r"m/2/model\.onnx: corrupt"):
        models.verify(ModelVersion("m", 2))


def test_a_missing_file_or_model_is_named(tmp_path: Path) -> None:
    publish(tmp_path, 1).unlink()
    models = VerifiedModels(ModelRepository(tmp_path))
    with pytest.raises(StartupError, match=r"model\.onnx: missing"):
        models.verify(ModelVersion("m", 1))
    with pytest.raises(StartupError, match=r"model ghost/1: its files cannot be read: .*ghost/1"):
        models.verify(ModelVersion("ghost", 1))

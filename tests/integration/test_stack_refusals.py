"""What cannot start says why, names the setting or the file, and exits with 2."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.settings import child_environment
from tests.integration.conftest import BuiltModels

pytestmark = pytest.mark.integration


def refused(tmp_path: Path, **overrides: str) -> str:
    """Runs `cartwright serve`, which must refuse; returns what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "serving.cli.main", "serve"],
        cwd=tmp_path,
        env=child_environment(
            {
                "CARTWRIGHT_SERVER__GRPC_PORT": "0",
                "CARTWRIGHT_STORES__FOLDER": str(tmp_path / "state"),
                **overrides,
            }
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def copied(models: BuiltModels, tmp_path: Path) -> BuiltModels:
    """Models that a test may damage."""
    copy = BuiltModels(tmp_path / "repository", models.shop, models.checkpoints)
    shutil.copytree(models.repository, copy.repository)
    return copy


def test_a_missing_model(models: BuiltModels, tmp_path: Path) -> None:
    copy = copied(models, tmp_path)
    for version in (copy.repository / "ranker").glob("[0-9]*"):
        shutil.rmtree(version)
    said = refused(tmp_path, **copy.environment())
    assert "no published version of model 'ranker'" in said
    assert "models build" in said


def test_a_corrupt_model(models: BuiltModels, tmp_path: Path) -> None:
    copy = copied(models, tmp_path)
    damaged = max((copy.repository / "decision").glob("[0-9]*")) / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-7] + b"garbage")
    said = refused(tmp_path, **copy.environment())
    assert str(damaged) in said
    assert "corrupt" in said


def test_a_missing_shop(models: BuiltModels, tmp_path: Path) -> None:
    environment = {**models.environment(), "CARTWRIGHT_STORES__SHOP": str(tmp_path / "nowhere")}
    said = refused(tmp_path, **environment)
    assert str(tmp_path / "nowhere") in said


def test_a_taken_port(models: BuiltModels, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, **models.environment(), CARTWRIGHT_SERVER__GRPC_PORT=port)
    assert "server.grpc_port" in said
    assert port in said


def test_a_missing_tritonserver(models: BuiltModels, tmp_path: Path) -> None:
    binary = str(tmp_path / "no-such-tritonserver")
    said = refused(tmp_path, **models.environment(), CARTWRIGHT_TRITON__BINARY=binary)
    assert "triton.binary" in said
    assert binary in said


def test_an_unusable_store_folder(models: BuiltModels, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    said = refused(tmp_path, **models.environment(), CARTWRIGHT_STORES__FOLDER=str(blocked / "x"))
    assert "stores.folder" in said


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("CARTWRIGHT_SERVER__GRPC_PORT", "70000", "server.grpc_port"),
        ("CARTWRIGHT_TRITON__HOSTS", "0", "triton.hosts"),
        ("CARTWRIGHT_PLACEMENT__RANK", "elsewhere", "placement.rank"),
        ("CARTWRIGHT_SERVER__NO_SUCH", "1", "server.no_such"),
        ("CARTWRIGHT_NO_SUCH__X", "1", "no_such"),
        ("CARTWRIGHT_SERVER__ADMISSION__MAX_IN_FLIGHT", "1000", "max_in_flight"),
    ],
)
def test_an_unusable_setting(tmp_path: Path, variable: str, value: str, names: str) -> None:
    assert names in refused(tmp_path, **{variable: value})

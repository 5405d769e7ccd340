"""What is generated is up to date, and what is shipped is whole."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = ("commerce_pb2.py", "commerce_pb2.pyi", "commerce_pb2_grpc.py")
OFFLINE = {"model_build", "torch", "transformers", "onnx", "onnxruntime", "sklearn"}


def test_the_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I", "."),
            *(f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"),
            *(f"--pyi_out={tmp_path}", "serving/protos/commerce.proto"),
        ],
        cwd=ROOT,
        check=True,
    )
    for stub in STUBS:
        generated = (tmp_path / "serving" / "protos" / stub).read_text()
        assert (ROOT / "serving" / "protos" / stub).read_text() == generated, (
            f"{stub} is stale: run `make stubs`"
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.Path(built)


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: zipfile.Path) -> None:
    top = {entry.name for entry in wheel.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"serving", "model_build"}


@pytest.mark.parametrize(
    ("source", "packaged"), [("serving", "serving"), ("build/model_build", "model_build")]
)
def test_the_wheel_holds_every_tracked_file(
    wheel: zipfile.Path, source: str, packaged: str
) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", source], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert tracked
    missing = [
        path for path in tracked if not (wheel / (packaged + path.removeprefix(source))).is_file()
    ]
    assert not missing


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_request_path_imports_nothing_offline() -> None:
    # The backend runs inside Triton's stub process, not in the request path's.
    backend = ROOT / "serving" / "triton" / "backends"
    for path in (ROOT / "serving").rglob("*.py"):
        if backend not in path.parents:
            assert not imported(path) & OFFLINE, path


def test_there_is_no_package_directly_in_build() -> None:
    assert not (ROOT / "build" / "__init__.py").exists()

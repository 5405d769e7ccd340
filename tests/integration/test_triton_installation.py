import importlib.util
import os
import subprocess
import sys
import sysconfig
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.errors import StartupError
from serving.settings import TritonSettings
from serving.triton.installation import locate_tritonserver, prepare_installation

pytestmark = [pytest.mark.integration, pytest.mark.untimed]
ROOT = Path(__file__).parents[2]


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tritonserver"
    with pytest.raises(StartupError, match=rf"^triton\.binary: {path}: no such file"):
        locate_tritonserver(TritonSettings(binary=str(path)))


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tritonserver"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(StartupError, match=r"^triton\.binary: .*not executable"):
        locate_tritonserver(TritonSettings(binary=str(path)))


def test_a_program_for_another_machine_is_named(tmp_path: Path) -> None:
    path = program(tmp_path / "tritonserver", "\x7fELF but not really")
    with pytest.raises(StartupError, match=r"^triton\.binary: .*cannot be run: .*Exec format"):
        locate_tritonserver(TritonSettings(binary=str(path)))


def test_an_old_c_library_is_named(tmp_path: Path) -> None:
    # What the dynamic loader of an older machine says.
    path = program(
        tmp_path / "tritonserver",
        '#!/bin/sh\necho "$0: /lib/libc.so.6: version \\`GLIBC_2.35\' not found" >&2\nexit 1\n',
    )
    with pytest.raises(StartupError, match=r"^triton\.binary: .*too old \(glibc 2\.35"):
        locate_tritonserver(TritonSettings(binary=str(path)))


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    path = program(
        tmp_path / "tritonserver",
        "#!/bin/sh\n"
        'echo "error while loading shared libraries: libpython3.11.so.1.0: cannot open" >&2\n'
        "exit 127\n",
    )
    with pytest.raises(StartupError, match=r"libpython3\.11.*install the shared library"):
        locate_tritonserver(TritonSettings(binary=str(path)))


def test_backends_are_taken_from_beside_a_given_program(tmp_path: Path) -> None:
    path = program(tmp_path / "bin" / "tritonserver", "#!/bin/sh\n")
    settings = TritonSettings(binary=str(path))
    with pytest.raises(StartupError, match=r"^triton\.backend_directory: 'auto' looked into"):
        prepare_installation(settings)
    (tmp_path / "backends" / "onnxruntime").mkdir(parents=True)
    assert prepare_installation(settings).backend_directory == tmp_path / "backends"


def test_a_given_folder_without_our_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^triton\.backend_directory: .*'onnxruntime'"):
        prepare_installation(TritonSettings(backend_directory=str(tmp_path)))


def test_several_hosts_may_put_the_backends_together_at_once(tmp_path: Path) -> None:
    settings = TritonSettings(cache_folder=tmp_path / "deep" / "cache")
    with ThreadPoolExecutor(8) as pool:
        made = {
            installation.backend_directory
            for installation in pool.map(lambda _: prepare_installation(settings), range(8))
        }
    (folder,) = made
    assert os.access(folder / "python" / "triton_python_backend_stub", os.X_OK)
    assert (folder / "onnxruntime" / "model.py").is_file()
    # No half-made folder is left.
    assert list(settings.cache_folder.iterdir()) == [folder]


def test_backends_that_were_spoilt_are_made_again(tmp_path: Path) -> None:
    settings = TritonSettings(cache_folder=tmp_path)
    folder = prepare_installation(settings).backend_directory
    model = folder / "onnxruntime" / "model.py"
    text = model.read_text()
    model.write_text(text[:100])
    (folder / "python" / "libtriton_python.so").unlink()
    assert prepare_installation(settings).backend_directory == folder
    assert model.read_text() == text
    assert (folder / "python" / "libtriton_python.so").is_file()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"^triton\.cache_folder: "):
        prepare_installation(TritonSettings(cache_folder=tmp_path / "file" / "cache"))


def test_numpy_starts_no_threads_in_stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import numpy, os; print(len(os.listdir('/proc/self/task')))"

    def threads() -> int:
        environment = prepare_installation(TritonSettings(cache_folder=tmp_path)).environment
        command = [sys.executable, "-c", code]
        return int(
            subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
        )

    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert threads() == 1
    # Whoever knows better is left alone.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert threads() == min(2, len(os.sched_getaffinity(0)))


def test_the_python_of_pytriton_is_never_imported(tmp_path: Path) -> None:
    code = f"""
        import sys
        from serving.settings import TritonSettings
        from serving.triton.installation import prepare_installation
        prepare_installation(TritonSettings(cache_folder={str(tmp_path)!r}))
        assert not any(name.partition(".")[0] == "pytriton" for name in sys.modules)
        assert "onnxruntime" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("pytriton", "triton.binary: 'auto' needs the nvidia-pytriton wheel"),
        ("onnxruntime", "triton.backend_directory: 'auto' needs ONNX Runtime"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, left_out: str, message: str
) -> None:
    """An environment with everything but one package."""
    site = Path(sysconfig.get_path("purelib"))
    assert importlib.util.find_spec(left_out) is not None
    for entry in site.iterdir():
        if not entry.name.startswith((left_out, "__pycache__")) and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    code = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]
        from serving.errors import StartupError
        from serving.settings import TritonSettings
        from serving.triton.installation import locate_tritonserver
        try:
            locate_tritonserver(TritonSettings())
        except StartupError as error:
            print(error.message)
    """
    outcome = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.startswith(message)
    assert "pip install 'cartwright[triton]'" in outcome.stdout

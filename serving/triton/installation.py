"""Where tritonserver is and with which backends it runs.

triton.binary ─▶ locate_tritonserver ─▶ prepare_installation ─▶ TritonInstallation
                                         └─ cache_folder/backends-<digest>/{python,onnxruntime}

`auto` takes the program out of the nvidia-pytriton wheel (without importing any of its Python) and
puts its Python backend beside ours, which runs ONNX Runtime. A path takes an installation as it is,
NVIDIA's container for one.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serving.errors import StartupError
from serving.settings import TritonSettings, child_environment

AUTO = "auto"
# Backend that every model configuration names.
BACKEND = "onnxruntime"
_STUB = "triton_python_backend_stub"
_CHECK_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class TritonInstallation:
    """What is needed to run tritonserver."""

    binary: Path
    backend_directory: Path
    # Whole environment of the process.
    environment: dict[str, str]


@dataclass(frozen=True)
class _Wheel:
    """The files of the nvidia-pytriton wheel; `package` is its folder `pytriton`."""

    package: Path

    @property
    def binary(self) -> Path:
        return self.package / "tritonserver" / "bin" / "tritonserver"

    @property
    def python_backend(self) -> Path:
        return self.package / "tritonserver" / "backends" / "python"

    @property
    def stub(self) -> Path:
        """The program in which Triton runs Python; one for each version of the language."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.package / "tritonserver" / "python_backend_stubs" / version / _STUB

    @property
    def libraries(self) -> Path:
        return self.package.parent / "nvidia_pytriton.libs"


def locate_tritonserver(settings: TritonSettings) -> Path:
    """Finds the program and makes sure that it can run on this machine.

    Raises:
        StartupError: it is missing, not executable, or the machine cannot run it; names the
            setting and what to do.
    """
    if settings.binary == AUTO:
        wheel = _wheel()
        _require_runnable("triton.binary", wheel.binary, _environment(settings))
        if settings.backend_directory == AUTO:
            _require_backend_sources(wheel)
            _require_runnable("triton.backend_directory", wheel.stub, _environment(settings))
        return wheel.binary
    binary = Path(settings.binary).absolute()
    if not binary.is_file():
        raise StartupError(
            f"triton.binary: {binary}: no such file; give the path of tritonserver, or 'auto' for "
            "the one of the nvidia-pytriton wheel"
        )
    if not os.access(binary, os.X_OK):
        raise StartupError(f"triton.binary: {binary}: not executable")
    _require_runnable("triton.binary", binary, _environment(settings))
    return binary


def prepare_installation(settings: TritonSettings) -> TritonInstallation:
    """Finds the program and puts its backends together; safe in several processes at once.

    Raises:
        StartupError: see `locate_tritonserver`; or the backends are missing or cannot be written.
    """
    binary = locate_tritonserver(settings)
    if settings.backend_directory != AUTO:
        backends = Path(settings.backend_directory).absolute()
        if not (backends / BACKEND).is_dir():
            raise StartupError(
                f"triton.backend_directory: {backends}: has no backend {BACKEND!r}; give the "
                "folder that holds Triton's backends, or 'auto'"
            )
    elif settings.binary == AUTO:
        backends = _assemble_backends(_wheel(), settings.cache_folder.absolute())
    else:
        # The layout of NVIDIA's container: /opt/tritonserver/{bin,backends}.
        backends = binary.parent.parent / "backends"
        if not (backends / BACKEND).is_dir():
            raise StartupError(
                f"triton.backend_directory: 'auto' looked into {backends} beside triton.binary "
                f"and found no backend {BACKEND!r}; name the folder that holds it"
            )
    return TritonInstallation(
        binary=binary, backend_directory=backends, environment=_environment(settings)
    )


def _wheel() -> _Wheel:
    # Looking for a top-level package does not import it.
    found = importlib.util.find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise StartupError(
            "triton.binary: 'auto' needs the nvidia-pytriton wheel, which is not installed here; "
            "run `pip install 'cartwright[triton]'`, set triton.binary to the path of a "
            "tritonserver, or set triton.mode to 'external'"
        )
    wheel = _Wheel(Path(found.submodule_search_locations[0]))
    if not wheel.binary.is_file():
        raise StartupError(
            f"triton.binary: {wheel.binary}: missing from the nvidia-pytriton wheel; install it "
            "again"
        )
    return wheel


def _require_backend_sources(wheel: _Wheel) -> None:
    if importlib.util.find_spec("onnxruntime") is None:
        raise StartupError(
            "triton.backend_directory: 'auto' needs ONNX Runtime, which is not installed here; "
            "run `pip install 'cartwright[triton]'`"
        )
    for path in (wheel.stub, wheel.python_backend):
        if not path.exists():
            raise StartupError(
                f"triton.backend_directory: {path}: missing from the nvidia-pytriton wheel; it has "
                "no Python backend for this version of Python"
            )


def _require_runnable(setting: str, program: Path, environment: dict[str, str]) -> None:
    """Lets the dynamic loader look for what the program needs: C library, libpython and others."""
    try:
        outcome = subprocess.run(
            [program, "--help"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartupError(f"{setting}: {program}: cannot be run: {error}") from error
    # The exit code says nothing: asking for help is an error to both programs.
    complaint = outcome.stderr.decode(errors="replace").strip()
    if "GLIBC" in complaint and "not found" in complaint:
        raise StartupError(
            f"{setting}: {program}: the C library of this machine is too old (glibc 2.35 is "
            f"needed): {complaint.splitlines()[0]}"
        )
    if "error while loading shared libraries" in complaint:
        advice = ""
        if "libpython" in complaint:
            advice = "; install the shared library of this Python (package libpython3), or use one"
            advice += " that was built with --enable-shared"
        raise StartupError(f"{setting}: {program}: cannot be run: {complaint}{advice}")


def _environment(settings: TritonSettings) -> dict[str, str]:
    """Environment of tritonserver; the stubs inherit it."""
    environment = child_environment({})
    # The stubs calculate with ONNX Runtime. NumPy only joins and splits there, but would start a
    # thread for each further core in each of them: a fifth of the CPU that a stub takes to start.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    if settings.binary == AUTO:
        # The stub finds the packages of an environment by the `python3` that comes first.
        _put_first(environment, "PATH", Path(sys.executable).parent)
        # Its own libpython, where this interpreter has one; else the system's of that version.
        own = sysconfig.get_config_var("LIBDIR")
        library = sysconfig.get_config_var("INSTSONAME")
        if own and library and ".so" in library and (Path(own) / library).is_file():
            _put_first(environment, "LD_LIBRARY_PATH", Path(own))
        _put_first(environment, "LD_LIBRARY_PATH", _wheel().libraries)
    return environment


def _put_first(environment: dict[str, str], variable: str, folder: Path) -> None:
    rest = environment.get(variable)
    environment[variable] = f"{folder}{os.pathsep}{rest}" if rest else str(folder)


def _assemble_backends(wheel: _Wheel, cache: Path) -> Path:
    """Copies Python backend, stub and our backend into one folder, named by their digest.

    The folder appears by a rename, whole or not at all. One whose files were changed or lost since
    is put aside and made anew.
    """
    files = _backend_files(wheel)
    folder = cache / f"backends-{_digest(files)}"
    if _is_whole(folder, files):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".backends-", dir=cache) as scratch:
            made = Path(scratch) / "made"
            for name, source in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, made / name)
            (made / "python" / _STUB).chmod(0o755)
            if folder.exists() and not _is_whole(folder, files):
                folder.rename(Path(scratch) / "spoilt")
            try:
                made.rename(folder)
            except OSError:
                # Another process was faster; what it made is as good.
                if not _is_whole(folder, files):
                    raise
    except OSError as error:
        raise StartupError(
            f"triton.cache_folder: {cache}: Triton's backends cannot be put there: {error}"
        ) from error
    return folder


def _backend_files(wheel: _Wheel) -> dict[str, Path]:
    """What the backend directory holds: name within it -> source."""
    ours = Path(__file__).parent / "backends" / BACKEND
    return {
        **{
            f"python/{path.name}": path
            for path in sorted(wheel.python_backend.iterdir())
            if path.is_file()
        },
        f"python/{_STUB}": wheel.stub,
        **{f"{BACKEND}/{path.name}": path for path in sorted(ours.glob("*.py"))},
    }


def _digest(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_whole(folder: Path, files: dict[str, Path]) -> bool:
    made = {name: folder / name for name in files}
    return all(path.is_file() for path in made.values()) and _digest(made) == _digest(files)

"""A published version -> a repository folder for a tritonserver that knows nothing of Cartwright.

    DIR/<model>/config.pbtxt
    DIR/<model>/1/model.onnx       what is served; `backend: "onnxruntime"` names Triton's own
    DIR/<model>/1/<asset>          labels, tokenizer: for clients, Triton does not read them

The tensors in `config.pbtxt` are those of the graph. Triton's ONNX Runtime backend refuses a free
dimension where the graph has a fixed one, and a spec may leave open what depends on the shop.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
from google.protobuf import text_format

from model_build.exchange.version_check import SERVED_FILE
from model_build.serving_profile import tuned_hosting
from model_build.spec import Target
from model_build.specs import SPECS
from model_build.triton_config import FILE_NAME as CONFIG_FILE
from model_build.triton_config import config_of
from serving.errors import Conflict, InvalidRequest, StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import PublishedVersion

# A folder of its own holds one version; the header of its configuration says which it was.
_VERSION = "1"


def export_for_triton(
    version: PublishedVersion, repository: Path, folder: Path, target: Target
) -> list[Path]:
    """Writes `folder/<model>`, whole or not at all; returns its files, relative to `folder`.

    Args:
        version: what to export; its files are compared with their digests first.
        repository: the model repository, for the tuned hosting of the model.
        folder: is made if need be; may hold other models.
        target: kind of machine that the hosting is for.

    Raises:
        Conflict: the model is there already.
        InvalidRequest: the model has no spec.
        StartupError: a file is missing, damaged, or cannot be read or written.
    """
    version.verify()
    manifest = version.manifest
    destination = folder / manifest.model
    if destination.exists():
        raise Conflict(f"{destination}: is there already; remove it, or export into another folder")
    config = _config_text(version, repository, target)
    draft: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        versioned = draft / _VERSION
        versioned.mkdir()
        (draft / CONFIG_FILE).write_text(config, encoding="utf-8")
        for name in _exported(manifest):
            shutil.copyfile(version.folder / name, versioned / name)
        draft.chmod(0o755)
        # Refuses a folder that somebody has filled meanwhile.
        draft.rename(destination)
        draft = None
    except OSError as error:
        raise StartupError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}"
        ) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return sorted(path.relative_to(folder) for path in destination.rglob("*") if path.is_file())


def _exported(manifest: ModelManifest) -> list[str]:
    """The served file and the assets; not the fp32 source of an int8 model."""
    return [a.path for a in manifest.artifacts if a.path == SERVED_FILE or a.kind == "asset"]


def _config_text(version: PublishedVersion, repository: Path, target: Target) -> str:
    manifest = version.manifest
    spec = SPECS.get(manifest.model)
    if spec is None:
        raise InvalidRequest("model", f"{manifest.model!r} is none of {', '.join(SPECS)}")
    config = config_of(spec, target, tuned_hosting(repository, spec, target))
    session = onnxruntime.InferenceSession(
        str(version.folder / SERVED_FILE), providers=["CPUExecutionProvider"]
    )
    for fields, tensors in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        for field in fields:
            field.dims[:] = [_dim(axis) for axis in shapes[field.name][1:]]
    served = next(a for a in manifest.artifacts if a.path == SERVED_FILE)
    return (
        f"# {manifest.model} {manifest.version} of a Cartwright model repository: {served.kind},\n"
        f"# SHA-256 {served.sha256}\n{text_format.MessageToString(config)}"
    )


def _dim(axis: Any) -> int:
    """ONNX Runtime gives a number for a fixed axis, else a symbol or nothing."""
    return axis if isinstance(axis, int) else -1

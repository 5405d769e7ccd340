"""Whether what somebody else hands over is a version that can be served here."""

from pathlib import Path

import numpy as np

from model_build.spec import ModelSpec
from model_build.specs import SPECS
from serving.errors import InvalidRequest
from serving.models.manifest import FILE_NAME as MANIFEST_FILE
from serving.models.manifest import ArtifactRecord, ModelManifest, TensorSpec, sha256_of

SERVED_FILE = "model.onnx"
# What the request path reads beside the model itself.
ASSETS: dict[str, tuple[str, ...]] = {
    "understanding": ("labels.json", "tokenizer.json"),
    "encoder": ("tokenizer.json",),
    "candidates": ("products.json",),
    "ranker": ("vocabulary.json",),
    "decision": ("features.json",),
}


def check_manifest(manifest: ModelManifest) -> ModelSpec:
    """Compares a manifest with the spec of its model, which is returned.

    Raises:
        InvalidRequest: there is no such model, its tensors are not those of the spec, or its files
            are not those of a version; names the field.
    """
    spec = SPECS.get(manifest.model)
    if spec is None:
        raise _refusal("model", f"{manifest.model!r} is none of {', '.join(SPECS)}")
    _check_tensors("inputs", manifest.inputs, spec.inputs)
    _check_tensors("outputs", manifest.outputs, spec.outputs)
    if manifest.max_batch_size != spec.max_batch_size:
        raise _refusal(
            "max_batch_size", f"is {manifest.max_batch_size}, the spec says {spec.max_batch_size}"
        )
    kinds: dict[str, str] = {}
    for artifact in manifest.artifacts:
        _check_name(artifact.path)
        if artifact.path in kinds:
            raise _refusal("artifacts", f"{artifact.path} is listed twice")
        kinds[artifact.path] = artifact.kind
    wanted = {SERVED_FILE: manifest.served_artifact, **dict.fromkeys(ASSETS[spec.name], "asset")}
    for name, kind in wanted.items():
        if kinds.get(name) != kind:
            raise _refusal("artifacts", f"{name} is not listed as {kind}")
    return spec


def check_file(path: Path, artifact: ArtifactRecord) -> None:
    """Compares a file with its record.

    Raises:
        InvalidRequest: it is another one.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size != artifact.size_bytes:
        raise InvalidRequest(
            artifact.path, f"has {size} bytes, {MANIFEST_FILE} says {artifact.size_bytes}"
        )
    if sha256_of(path) != artifact.sha256:
        raise InvalidRequest(
            artifact.path, f"corrupt: its SHA-256 differs from the one in {MANIFEST_FILE}"
        )


def check_model(path: Path, spec: ModelSpec) -> None:
    """Runs an ONNX file on two of the spec's samples.

    Raises:
        InvalidRequest: it cannot be run, or its tensors are not those of the spec.
    """
    # Brings PyTorch, which takes seconds: only for a version that is new here.
    from model_build.runtime import onnx_runner

    try:
        onnx_runner(spec, path)(spec.sample_inputs(np.random.default_rng(0), 2))
    except Exception as error:  # ONNX Runtime's errors share no public base class.
        reason = " ".join(str(error).split())
        raise InvalidRequest(path.name, f"does not run as the spec says: {reason}") from error


def _check_tensors(
    field: str, given: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...]
) -> None:
    if given != wanted:
        raise _refusal(field, f"are {_listed(given)}; the spec says {_listed(wanted)}")


def _check_name(path: str) -> None:
    """Refuses paths that lead elsewhere, and names that mean something else in a version folder."""
    if not path or path != Path(path).name or path.startswith(".") or path == MANIFEST_FILE:
        raise _refusal("artifacts", f"{path!r} is no name for a file of a version")


def _refusal(field: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{MANIFEST_FILE}: {field}", reason)


def _listed(tensors: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {list(t.dims)}" for t in tensors) or "none"

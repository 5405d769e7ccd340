"""A trained model -> the files of one version: ONNX, int8 where it holds up, assets.

    module ─ export ─▶ onnx ─ parity with the module ─▶ quantise ─▶ int8 ─ parity with onnx ─▶ serve

An int8 artifact that misses its tolerances is dropped: the fp32 one is served, and the manifest's
parity record and the build's output say so. An fp32 export that misses them is an error, since
there is nothing behind it.
"""

from dataclasses import dataclass
from pathlib import Path

from model_build.export import export_onnx
from model_build.parity import check_parity, describe
from model_build.quantize import quantize_int8
from model_build.runtime import onnx_runner, torch_runner
from model_build.spec import ArtifactKind, Target
from model_build.train.trained import TrainedModel
from serving.errors import StartupError
from serving.models.manifest import ArtifactRecord, ParityRecord, sha256_of

SERVED_FILE = "model.onnx"
SOURCE_FILE = "source.onnx"


class ParityError(StartupError):
    """The exported model does not do what the trained one does; the text has the figures."""


@dataclass(frozen=True, kw_only=True)
class MadeArtifacts:
    """What lies in the folder now."""

    served: ArtifactKind
    records: tuple[ArtifactRecord, ...]
    parity: tuple[ParityRecord, ...]

    def report(self) -> list[str]:
        """One line a parity check, and one if the preferred artifact is not the one served."""
        lines = [f"{describe(p)}: {'passed' if p.passed else 'FAILED'}" for p in self.parity]
        if not all(record.passed for record in self.parity):
            lines.append(f"{self.served} is served instead")
        return lines


def make_artifacts(trained: TrainedModel, folder: Path, target: Target) -> MadeArtifacts:
    """Writes the model's files into `folder`.

    Raises:
        ParityError: the fp32 export misses its tolerances.
        OSError: a file cannot be written.
    """
    spec = trained.spec
    source = folder / SOURCE_FILE
    export_onnx(spec, trained.module, source)
    exported = check_parity(
        spec,
        "onnx",
        artifact=onnx_runner(spec, source),
        source=torch_runner(spec, trained.module),
        source_name="pytorch",
        samples=trained.samples,
    )
    if not exported.passed:
        raise ParityError(f"{spec.name}: {describe(exported)}")
    parity = [exported]
    served: ArtifactKind = "onnx"
    if spec.hosting[target].preferred_artifact == "onnx-int8":
        quantized = _quantized(trained, source, folder / SERVED_FILE)
        parity.append(quantized)
        if quantized.passed:
            served = "onnx-int8"
        else:
            (folder / SERVED_FILE).unlink()
    files: list[tuple[ArtifactKind, str]] = [(served, SERVED_FILE)]
    if served == "onnx":
        source.rename(folder / SERVED_FILE)
    else:
        files.append(("onnx", SOURCE_FILE))
    for name, content in trained.assets.items():
        (folder / name).write_bytes(content)
    return MadeArtifacts(
        served=served,
        records=(
            *(_record(kind, folder, name) for kind, name in files),
            *(_record("asset", folder, name) for name in sorted(trained.assets)),
        ),
        parity=tuple(parity),
    )


def _quantized(trained: TrainedModel, source: Path, target: Path) -> ParityRecord:
    """Makes the int8 artifact and compares it with the fp32 one."""
    quantize_int8(source, target)
    return check_parity(
        trained.spec,
        "onnx-int8",
        artifact=onnx_runner(trained.spec, target),
        source=onnx_runner(trained.spec, source),
        source_name="onnx",
        samples=trained.samples,
    )


def _record(kind: str, folder: Path, name: str) -> ArtifactRecord:
    path = folder / name
    return ArtifactRecord.model_validate(
        {
            "kind": kind,
            "path": name,
            "sha256": sha256_of(path),
            "size_bytes": path.stat().st_size,
        }
    )

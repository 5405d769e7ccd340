"""`manifest.json` of a published model version: what it is, how it was made, what was measured."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StartupError

FILE_NAME = "manifest.json"
DType = Literal["FP32", "FP16", "INT64", "INT32", "BOOL"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Strict):
    """One input or output tensor, without its batch axis; -1 is a free dimension."""

    name: str
    dtype: DType
    dims: tuple[int, ...]


class ArtifactRecord(_Strict):
    """One file of the version. `path` is relative to the version folder."""

    kind: Literal["onnx", "onnx-int8", "asset"]
    path: str
    sha256: str
    size_bytes: int


class ParityRecord(_Strict):
    """How far an artifact's outputs lie from its source's on held-out samples."""

    artifact: str
    source: str
    samples: int
    # Largest absolute difference by output tensor.
    max_abs_difference: dict[str, float]
    # Named figures such as "intent_agreement" with the bound each had to meet.
    figures: dict[str, float] = Field(default_factory=dict)
    tolerances: dict[str, float]
    passed: bool


class OriginRecord(_Strict):
    """The entry of a model registry that a version was imported from."""

    # Its address.
    registry: str
    name: str
    version: int
    # Empty if it was registered without a run.
    run_id: str


class ModelManifest(_Strict):
    """Everything that is known about one published version."""

    schema_version: Literal[1] = 1
    model: str
    version: int
    # Digest over code, data, seed and tool versions: the same key means the same build.
    build_key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    served_artifact: Literal["onnx", "onnx-int8"]
    artifacts: tuple[ArtifactRecord, ...]
    tools: dict[str, str]
    data_name: str
    data_digest: str
    seed: int
    metrics: dict[str, float]
    # The same figures for the trivial baseline, where there is one.
    baseline_metrics: dict[str, float] = Field(default_factory=dict)
    parity: tuple[ParityRecord, ...]
    # Free settings of the architecture, e.g. {"max_length": 64}.
    config: dict[str, Any] = Field(default_factory=dict)
    train_seconds: float
    published_at_ms: int
    # None if it was built here.
    origin: OriginRecord | None = None

    @property
    def served_sha256(self) -> str:
        """Digest of the artifact that Triton serves; "" for a manifest that lists none."""
        return next((a.sha256 for a in self.artifacts if a.kind == self.served_artifact), "")

    @property
    def served_bytes(self) -> int:
        """Size of the artifact that Triton serves; 0 for a manifest that lists none."""
        return next((a.size_bytes for a in self.artifacts if a.kind == self.served_artifact), 0)

    @classmethod
    def read(cls, version_folder: Path) -> "ModelManifest":
        """Reads `manifest.json` of a version folder.

        Raises:
            StartupError: the file is missing or not a manifest; names the file and the field.
        """
        path = version_folder / FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "(file)"
            raise StartupError(f"{path}: {where}: {first['msg']}") from error

    def write(self, version_folder: Path) -> None:
        """Writes `manifest.json` into the version folder."""
        (version_folder / FILE_NAME).write_text(self.model_dump_json(indent=2) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

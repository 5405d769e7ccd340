"""The published files of the understanding model that are measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.models.repository import ModelRepository

MODEL = "understanding"
SOURCE_FILE = "source.onnx"
SERVED_FILE = "model.onnx"
_PRECISIONS = {"onnx": "fp32", "onnx-int8": "int8"}


@dataclass(frozen=True, kw_only=True)
class UnderstandingFiles:
    """One published version."""

    folder: Path
    version: int
    tokenizer: Path
    max_length: int
    # Precision of the file that is served, "int8" or "fp32".
    served: str
    # Path by precision: the served one first, then its source where that is another.
    artifacts: Mapping[str, Path]
    # SHA-256 by precision.
    digests: Mapping[str, str]


def understanding_files(repository: Path) -> UnderstandingFiles:
    """The newest published version.

    Raises:
        StartupError: there is none, or it lacks a file.
    """
    published = ModelRepository(repository.absolute()).latest(MODEL)
    manifest = published.manifest
    names = {_PRECISIONS[manifest.served_artifact]: SERVED_FILE}
    if (published.folder / SOURCE_FILE).is_file():
        names.setdefault(_PRECISIONS["onnx"], SOURCE_FILE)
    digests = {record.path: record.sha256 for record in manifest.artifacts}
    return UnderstandingFiles(
        folder=published.folder,
        version=manifest.version,
        tokenizer=published.asset_path("tokenizer.json"),
        max_length=int(published.json_asset("labels.json")["max_length"]),
        served=_PRECISIONS[manifest.served_artifact],
        artifacts={precision: published.folder / name for precision, name in names.items()},
        digests={precision: digests[name] for precision, name in names.items()},
    )

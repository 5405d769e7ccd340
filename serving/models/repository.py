"""Model repository on disk: which versions are published, and their assets.

Layout (the one that Triton reads, plus the manifest and assets)::

    model_repository/<model>/config.pbtxt
    model_repository/<model>/<version>/model.onnx      what Triton serves
    model_repository/<model>/<version>/source.onnx     the fp32 export, where another is served
    model_repository/<model>/<version>/manifest.json
    model_repository/<model>/<version>/<asset>         tokenizer.json, labels.json, products.json …
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from serving.errors import StartupError
from serving.models.manifest import ModelManifest, sha256_of


@dataclass(frozen=True)
class PublishedVersion:
    """One version folder of a model."""

    folder: Path

    @cached_property
    def manifest(self) -> ModelManifest:
        """The version's manifest; read once."""
        return ModelManifest.read(self.folder)

    def asset_path(self, name: str) -> Path:
        """Path of an asset file.

        Raises:
            StartupError: the version has no such asset.
        """
        path = self.folder / name
        if not path.is_file():
            raise StartupError(f"{path}: asset is missing; build the models again")
        return path

    def json_asset(self, name: str) -> Any:
        """A JSON asset, parsed.

        Raises:
            StartupError: missing or not JSON.
        """
        path = self.asset_path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StartupError(f"{path}: not JSON: {error}") from error

    def verify(self) -> None:
        """Compares every file with the digest in the manifest.

        Raises:
            StartupError: a file is missing or was changed.
        """
        for artifact in self.manifest.artifacts:
            path = self.folder / artifact.path
            if not path.is_file():
                raise StartupError(f"{path}: missing, though {self.manifest.model} lists it")
            if sha256_of(path) != artifact.sha256:
                raise StartupError(
                    f"{path}: corrupt: its SHA-256 differs from the one in manifest.json; "
                    "delete the version folder and build the models again"
                )


@dataclass(frozen=True)
class ModelRepository:
    """Read access to a model repository folder."""

    root: Path

    def versions(self, model: str) -> list[int]:
        """Published versions in rising order. Folders still being written have no numeric name."""
        folder = self.root / model
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdecimal())

    def latest(self, model: str) -> PublishedVersion:
        """The highest published version.

        Raises:
            StartupError: there is none.
        """
        versions = self.versions(model)
        if not versions:
            raise self.missing(model)
        return self.version(model, versions[-1])

    def missing(self, model: str) -> StartupError:
        """The error to raise when no version of a model is published."""
        return StartupError(
            f"{self.root / model}: no published version of model {model!r}; "
            "run `cartwright models build` first"
        )

    def version(self, model: str, version: int) -> PublishedVersion:
        """One published version, which must exist."""
        return PublishedVersion(self.root / model / str(version))

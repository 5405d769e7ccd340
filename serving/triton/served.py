"""The repository that a tritonserver reads: each version of a model is a model of its own there.

    <root>/understanding.4/config.pbtxt   the model's, with this name and the version's own outputs
    <root>/understanding.4/4              a link to the version's folder

As versions of one model they would touch each other: Triton loads every version of a model again
when one is added, and under the policy `latest` drops the old one while callers still name it. As
models of their own, one is loaded, warmed up and unloaded while the others answer.

The folder follows from its contents alone, so that all hosts of a machine share one.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository, PublishedVersion
from serving.models.version import ModelVersion

_SEPARATOR = "."
_CONFIG = "config.pbtxt"


def served_name(version: ModelVersion) -> str:
    """Triton's name of a version, e.g. "understanding.4"."""
    return f"{version.model}{_SEPARATOR}{version.version}"


def parse_served_name(name: str) -> ModelVersion | None:
    """The version that Triton knows under a name; None if it is none of ours."""
    model, _, number = name.rpartition(_SEPARATOR)
    return ModelVersion(model, int(number)) if model and number.isdecimal() else None


class ServedRepository:
    """Offers published versions to servers. Blocking: for a thread."""

    def __init__(self, models: ModelRepository, cache_folder: Path) -> None:
        """Makes nothing yet.

        Args:
            models: what is published.
            cache_folder: the offer goes into a folder of its own in there.
        """
        self._models = models
        digest = hashlib.sha256(str(models.root).encode()).hexdigest()[:16]
        self.root = cache_folder / f"served-{digest}"

    def prepare(self) -> None:
        """Makes the folder, which a server wants to find when it starts.

        Raises:
            StartupError: it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.root, error) from error

    def offer(self, wanted: ModelVersion) -> str:
        """Puts a version there as it is published now; returns Triton's name of it.

        Raises:
            StartupError: its configuration cannot be read, or the folder not be written.
        """
        version = self._models.version(*wanted)
        name = served_name(wanted)
        config = _config(self._models.root / wanted.model / _CONFIG, version, name)
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self.root) as scratch:
                # Hosts that start side by side write the same; each replaces whole files.
                link = Path(scratch) / "version"
                link.symlink_to(version.folder, target_is_directory=True)
                link.replace(folder / str(wanted.version))
                file = Path(scratch) / _CONFIG
                file.write_text(config, encoding="utf-8")
                file.replace(folder / _CONFIG)
        except OSError as error:
            raise _unusable(folder, error) from error
        return name

    def growing_configs(self, name: str) -> list[str]:
        """The configuration of a version that is offered, as JSON, by one more instance each time.

        Raises:
            StartupError: it cannot be read.
        """
        whole = _read_config(self.root / name / _CONFIG)
        counts = [group.count for group in whole.instance_group]
        configs = []
        for most in range(1, max(counts, default=1) + 1):
            for group, count in zip(whole.instance_group, counts, strict=True):
                group.count = min(count, most)
            configs.append(json_format.MessageToJson(whole, preserving_proto_field_name=True))
        return configs


def config_of_version(config: Any, manifest: ModelManifest, name: str) -> Any:
    """Makes a model's configuration one version's: its name, and outputs as that version has them.

    Versions may differ in the number of classes that they know.
    """
    config.name = name
    dims = {output.name: output.dims for output in manifest.outputs}
    for output in config.output:
        if output.name in dims:
            output.dims[:] = dims[output.name]
    return config


def _config(path: Path, version: PublishedVersion, name: str) -> str:
    """The text of the model's configuration for one version."""
    config = config_of_version(_read_config(path), version.manifest, name)
    return text_format.MessageToString(config)


def _read_config(path: Path) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, ValueError, text_format.ParseError) as error:
        reason = " ".join(str(error).split())
        raise StartupError(f"{path}: Triton's configuration cannot be read: {reason}") from error


def _unusable(path: Path, error: OSError) -> StartupError:
    return StartupError(f"triton.cache_folder: {path}: {error.strerror or error}")

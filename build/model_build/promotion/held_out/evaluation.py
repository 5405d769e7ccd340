"""What gates need of a model: held-out inputs, and the figures of two versions on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_build.promotion.paired import Comparison
from model_build.runtime import onnx_runner
from model_build.spec import Arrays, ModelSpec, Run
from model_build.specs import SPECS
from serving.errors import ModelContractViolated, StartupError
from serving.models.repository import PublishedVersion
from serving.models.tokenizer import Tokenizer


class Misbehaved(ModelContractViolated):
    """A version does not answer as its manifest promises; the text says how."""

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message, version)
        self.version = version


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One batch of held-out inputs."""

    # The spec's inputs, and labels for figures of the parity check.
    inputs: Arrays
    # What each row is, for people.
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Two versions on the same samples."""

    # E.g. "1740 utterances of 239 templates".
    basis: str
    comparisons: tuple[Comparison, ...]
    # By figure: what the live version got right and the candidate did not, one line each.
    lost: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Evaluation(Protocol):
    """Held-out samples of one model."""

    def samples(self, version: PublishedVersion) -> Sequence[Sample]:
        """Inputs as the version wants them.

        Raises:
            StartupError: an asset of the version is unusable; names it.
        """
        ...

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """Runs both versions and compares them.

        Raises:
            StartupError: an asset of a version is unusable; names it.
            Misbehaved: a version does not answer as it should; says which.
        """
        ...


def spec_of(version: PublishedVersion) -> ModelSpec:
    """The model's spec with the tensors of the version: another one may know more classes."""
    manifest = version.manifest
    return replace(
        SPECS[manifest.model],
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        max_batch_size=manifest.max_batch_size,
    )


def served(version: PublishedVersion) -> Run:
    """What the version serves; see `runner`."""
    return runner(version, version.manifest.served_artifact)


def runner(version: PublishedVersion, kind: str) -> Run:
    """The version's artifact of a kind, ready to run; it raises `Misbehaved`.

    Raises:
        StartupError: its manifest lists none, or ONNX Runtime cannot read it.
    """
    path = next(
        (version.folder / a.path for a in version.manifest.artifacts if a.kind == kind), None
    )
    if path is None:
        raise StartupError(f"{version.folder}/manifest.json: artifacts: lists no {kind}")
    try:
        run = onnx_runner(spec_of(version), path)
    # ONNX Runtime's errors share no public base class.
    except Exception as error:
        raise StartupError(f"{path}: cannot be run: {error}") from error
    number = version.manifest.version

    def checked(inputs: Arrays) -> dict[str, NDArray[Any]]:
        try:
            outputs = run(inputs)
        except Exception as error:
            raise Misbehaved(f"version {number} cannot answer: {error}", number) from error
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise Misbehaved(f"version {number}: {name} holds NaN or infinity", number)
        return outputs

    return checked


def names_in(version: PublishedVersion, asset: str, field_name: str) -> list[str]:
    """A list of names in a JSON asset of the version.

    Raises:
        StartupError: it is not there, or something else; names file and field.
    """
    content = version.json_asset(asset)
    found = content.get(field_name) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise StartupError(f"{version.folder}/{asset}: {field_name}: is not a list of names")
    return found


def tokenizer_of(version: PublishedVersion) -> Tokenizer:
    """The tokenizer published with a version, with its longest length.

    Raises:
        StartupError: there is no usable one; names the file.
    """
    longest = version.manifest.config.get("max_length")
    if not isinstance(longest, int):
        raise StartupError(f"{version.folder}/manifest.json: config.max_length: {longest!r}")
    return Tokenizer.from_file(version.asset_path("tokenizer.json"), longest)

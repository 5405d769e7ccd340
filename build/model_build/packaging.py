"""A trained model -> a published version: files, manifest, and a place in the repository."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_build.digests import tool_versions
from model_build.publish import publish
from model_build.recipes import DataNote
from model_build.spec import Target
from serving.models.manifest import ModelManifest

if TYPE_CHECKING:
    from model_build.train.trained import TrainedModel

# Modules that turn a trained model into files, whatever the model.
PACKAGING = ("model_build.artifacts",)
# Tells what happens, one line at a time.
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a model comes from, for its manifest."""

    build_key: str
    data: DataNote
    seed: int
    profile: str
    train_seconds: float
    # Further free settings for the manifest.
    config: Mapping[str, Any]


def publish_trained(
    trained: "TrainedModel", origin: Provenance, repository: Path, target: Target, say: Say
) -> ModelManifest:
    """Exports, checks and publishes a model as the next version; call it under the lock.

    Raises:
        ParityError: the export does not do what the model does.
        StartupError: the repository cannot be written; names the path.
    """
    # Needs PyTorch, which a build that finds everything there does not import.
    from model_build.artifacts import make_artifacts

    spec = trained.spec

    def fill(draft: Path, version: int) -> ModelManifest:
        made = make_artifacts(trained, draft, target)
        for line in made.report():
            say(f"  {line}")
        return ModelManifest(
            model=spec.name,
            version=version,
            build_key=origin.build_key,
            inputs=spec.inputs,
            outputs=spec.outputs,
            max_batch_size=spec.max_batch_size,
            served_artifact=made.served,
            artifacts=made.records,
            tools=tool_versions(),
            data_name=origin.data.name,
            data_digest=origin.data.digest,
            seed=origin.seed,
            metrics=dict(trained.metrics),
            baseline_metrics=dict(trained.baseline_metrics),
            parity=made.parity,
            config={
                **spec.config,
                **trained.config,
                **origin.config,
                "profile": origin.profile,
                "target": target,
            },
            train_seconds=round(origin.train_seconds, 1),
            published_at_ms=int(time.time() * 1000),
        )

    return publish(repository, spec.name, fill)

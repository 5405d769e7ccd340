"""A checkpoint -> a published version, by the same steps as a build after its training.

    checkpoint ─▶ temperatures, held-out figures ─▶ ONNX ─▶ int8 ─▶ parity ─▶ published version

What it was trained on is not known here, only whether somebody vouches that it has not seen the
held-out samples. Without that, the gate of quality may refuse the version but never lets it pass.
"""

from dataclasses import dataclass
from pathlib import Path

from model_build.checkpoint import CHECKPOINT_ENTRY, digest_of
from model_build.digests import code_digest, key_of, tool_versions
from model_build.materials import Materials
from model_build.packaging import PACKAGING, Provenance, Say, publish_trained
from model_build.profiles import Profile
from model_build.publish import find_build, locked, remove_leftovers
from model_build.recipes import RECIPES, DataNote
from model_build.spec import Target
from model_build.specs import SPECS
from model_build.triton_config import FILE_NAME as CONFIG_FILE
from model_build.triton_config import write_config
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository

MODEL = "understanding"
_MODULES = ("model_build.train.checkpoint", "model_build.train.understanding_evaluation")
_RECIPE = next(recipe for recipe in RECIPES if recipe.model == MODEL)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What to publish and where. Seed, profile and data say which samples are held out."""

    repository: Path
    folder: Path
    profile: Profile
    seed: int = 0
    data_folder: Path | None = None
    # Whether the checkpoint has not seen the held-out samples.
    unseen: bool = False
    target: Target = "cpu"


@dataclass(frozen=True, kw_only=True)
class CheckpointOutcome:
    """The version that the checkpoint is now."""

    manifest: ModelManifest
    # False: it was there already.
    new: bool


def publish_checkpoint(options: CheckpointOptions, say: Say) -> CheckpointOutcome:
    """Publishes a checkpoint of `understanding` unless the same one is published.

    Raises:
        StartupError: the checkpoint or the data are unfit, or the repository cannot be written;
            names the file.
        ParityError: the export does not do what the model does.
    """
    materials = Materials(options.seed, options.profile, options.data_folder)
    materials.check()
    digest = digest_of(options.folder)
    key = _key(options, materials, digest)
    with locked(options.repository):
        remove_leftovers(options.repository)
        known = find_build(options.repository, MODEL, key)
        if known is not None:
            manifest = ModelRepository(options.repository).version(MODEL, known).manifest
            return CheckpointOutcome(manifest=manifest, new=False)
        if not (options.repository / MODEL / CONFIG_FILE).is_file():
            write_config(options.repository, SPECS[MODEL], options.target)
        manifest = _publish(options, materials, digest, key, say)
    return CheckpointOutcome(manifest=manifest, new=True)


def _key(options: CheckpointOptions, materials: Materials, digest: str) -> str:
    return key_of(
        {
            "checkpoint": digest,
            "unseen": options.unseen,
            "code": code_digest((*_MODULES, *PACKAGING), _RECIPE.serving_modules),
            "tools": tool_versions(),
            "data": materials.source_digest,
            "seed": materials.seed,
            "profile": materials.profile.name,
            "target": options.target,
        }
    )


def _publish(
    options: CheckpointOptions, materials: Materials, digest: str, key: str, say: Say
) -> ModelManifest:
    # Needs PyTorch, which takes seconds to import.
    from model_build.train.checkpoint import read_checkpoint
    from model_build.train.understanding_evaluation import (
        UnderstandingData,
        evaluate_understanding,
    )

    model = read_checkpoint(options.folder)
    say(f"{options.folder}: held-out figures")
    data = UnderstandingData(
        train=materials.train_utterances, held_out=materials.held_out_utterances
    )
    trained = evaluate_understanding(model, data, materials.rng("training", 1))
    say("export and parity")
    split = _RECIPE.note(materials)
    name = f"checkpoint {options.folder.name}"
    note = (
        # The samples beside these are held out for it.
        DataNote(name=f"{name}, beside {split.name}", digest=split.digest)
        if options.unseen
        else DataNote(name=name, digest=digest)
    )
    origin = Provenance(
        build_key=key,
        data=note,
        seed=materials.seed,
        profile=materials.profile.name,
        train_seconds=0.0,
        config={CHECKPOINT_ENTRY: digest, "held_out_unseen": options.unseen},
    )
    return publish_trained(trained, origin, options.repository, options.target, say)

"""The whole build: models, then the shop. What is there already with the same key is left alone.

materials ─▶ recipe ─▶ trained ─▶ artifacts, parity ─▶ published version ─▶ … ─▶ shop
"""

import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model_build import shop_output
from model_build.checkpoint import build_key_in
from model_build.digests import code_digest, key_of, tool_versions
from model_build.materials import Materials
from model_build.packaging import PACKAGING, Provenance, Say, publish_trained
from model_build.profiles import Profile
from model_build.progress import Tracker
from model_build.publish import find_build, locked, publish_again, remove_leftovers
from model_build.recipes import RECIPES, Recipe
from model_build.spec import Target
from model_build.specs import SPECS
from model_build.triton_config import write_configs
from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from serving.steps.encode import encoder_name

Outcome = Literal["built", "published again", "up to date"]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What to build and where to put it."""

    repository: Path
    shop: Path
    profile: Profile
    seed: int = 0
    data_folder: Path | None = None
    # Where models that can be trained elsewhere leave their weights, a folder each; None: nowhere.
    checkpoints: Path | None = None
    target: Target = "cpu"


@dataclass(frozen=True, kw_only=True)
class ModelOutcome:
    """What became of one model."""

    manifest: ModelManifest
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did."""

    models: tuple[ModelOutcome, ...]
    shop_written: bool
    seconds: float
    # Of this process since its start, in GiB.
    peak_memory_gib: float


def build(options: BuildOptions, tracker: Tracker, say: Say) -> BuildReport:
    """Builds what is missing.

    Raises:
        StartupError: data is missing or malformed, or a folder cannot be written; names the path.
        ParityError: an export does not do what its model does.
    """
    started = time.perf_counter()
    materials = Materials(options.seed, options.profile, options.data_folder)
    materials.check()
    outcomes: dict[str, ModelOutcome] = {}
    with locked(options.repository):
        for draft in remove_leftovers(options.repository):
            say(f"removed {draft}, left behind by a build that did not end")
        write_configs(options.repository, options.target)
        keys: dict[str, str] = {}
        for recipe in RECIPES:
            keys[recipe.model] = build_key(recipe, materials, options.target, keys)
            outcome = _provide(recipe, keys[recipe.model], materials, options, tracker, say)
            outcomes[recipe.model] = outcome
            say(_summary(outcome))
        shop_written = _provide_shop(keys["encoder"], materials, options, say)
    return BuildReport(
        models=tuple(outcomes.values()),
        shop_written=shop_written,
        seconds=time.perf_counter() - started,
        peak_memory_gib=peak_memory_gib(),
    )


def build_key(recipe: Recipe, materials: Materials, target: Target, keys: dict[str, str]) -> str:
    """The key of one model; `keys` has those of the models that it needs."""
    model = recipe.model
    modules = [f"model_build.train.{model}", f"model_build.specs.{model}", *PACKAGING]
    if recipe.uses_shop:
        modules.append("model_build.materials")
    return key_of(
        {
            "model": model,
            "code": code_digest(modules, recipe.serving_modules),
            "tools": tool_versions(),
            "data": materials.source_digest if recipe.uses_shop else "",
            "seed": materials.seed,
            "profile": {name: getattr(materials.profile, name) for name in recipe.profile_fields},
            "target": target,
            "preferred_artifact": SPECS[model].hosting[target].preferred_artifact,
            "needs": [keys[name] for name in recipe.needs],
        }
    )


def peak_memory_gib() -> float:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / (1024.0**3 if sys.platform == "darwin" else 1024.0**2)


def _provide(
    recipe: Recipe,
    key: str,
    materials: Materials,
    options: BuildOptions,
    tracker: Tracker,
    say: Say,
) -> ModelOutcome:
    """Leaves the model alone, publishes an older version of it again, or builds it."""
    started = time.perf_counter()
    known = ModelRepository(options.repository)
    version = find_build(options.repository, recipe.model, key)
    checkpoint = _checkpoint_folder(recipe, options)
    if checkpoint is not None and build_key_in(checkpoint) != key:
        # Weights come from a training alone.
        version = None
    outcome: Outcome = "built"
    manifest: ModelManifest | None = None
    if version is not None and version == known.versions(recipe.model)[-1]:
        outcome, manifest = "up to date", known.version(recipe.model, version).manifest
    elif version is not None:
        try:
            manifest = publish_again(options.repository, recipe.model, version, _now_ms())
            outcome = "published again"
        except StartupError as error:
            say(f"{error.message}; building {recipe.model} anew")
    if manifest is None:
        manifest = _build_model(recipe, key, materials, options, tracker, say)
    return ModelOutcome(manifest=manifest, outcome=outcome, seconds=time.perf_counter() - started)


def _build_model(
    recipe: Recipe,
    key: str,
    materials: Materials,
    options: BuildOptions,
    tracker: Tracker,
    say: Say,
) -> ModelManifest:
    """Trains, exports, checks and publishes one model."""
    say(f"{recipe.model}: building")
    started = time.perf_counter()
    known = ModelRepository(options.repository)
    published = {name: known.latest(name).folder for name in recipe.needs}
    note = recipe.note(materials)
    trained = recipe.make(materials, published, tracker)
    origin = Provenance(
        build_key=key,
        data=note,
        seed=materials.seed,
        profile=materials.profile.name,
        train_seconds=time.perf_counter() - started,
        config={},
    )
    folder = _checkpoint_folder(recipe, options)
    if recipe.write_checkpoint is not None and folder is not None:
        # First: a version is published once its checkpoint is there.
        recipe.write_checkpoint(trained, folder, key)
        say(f"  checkpoint in {folder}")
    return publish_trained(trained, origin, options.repository, options.target, say)


def _checkpoint_folder(recipe: Recipe, options: BuildOptions) -> Path | None:
    """Where the model leaves its checkpoint; None if it leaves none."""
    if recipe.write_checkpoint is None or options.checkpoints is None:
        return None
    return options.checkpoints / recipe.model


def _provide_shop(encoder_key: str, materials: Materials, options: BuildOptions, say: Say) -> bool:
    """Writes the shop unless it lies there already; returns whether it was written."""
    encoder = ModelRepository(options.repository).latest("encoder")
    name = encoder_name(encoder.manifest.version)
    key = key_of(
        {
            "code": code_digest(("model_build.shop_output", "model_build.materials")),
            "data": materials.source_digest,
            # Held-out utterances and purchases depend on how much there is.
            "profile": replace(materials.profile, name=""),
            "seed": materials.seed,
            "encoder": encoder_key,
        }
    )
    if shop_output.is_written(options.shop, key, name):
        say(f"shop           up to date in {options.shop}")
        return False
    manifest = shop_output.write(options.shop, materials, key, name, encoder.folder)
    say(f"shop           {manifest.name!r} written to {options.shop}, vectors by {name}")
    return True


def _summary(outcome: ModelOutcome) -> str:
    manifest = outcome.manifest
    took = f" in {outcome.seconds:.0f} s" if outcome.outcome == "built" else ""
    return (
        f"{manifest.model:<14} {outcome.outcome}{took}: "
        f"version {manifest.version}, {manifest.served_artifact}"
    )


def _now_ms() -> int:
    return int(time.time() * 1000)

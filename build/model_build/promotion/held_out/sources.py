"""Where held-out samples come from: the data that a version was built from, made again.

Materials follow from seed, profile and data folder alone, and so does what of them is held out. The
digest in the manifest says whether a version has learnt from these very data.
"""

from collections.abc import Callable
from pathlib import Path

from model_build.data.articles import make_articles
from model_build.materials import Materials
from model_build.profiles import PROFILES
from model_build.promotion.held_out.candidates import CandidatesEvaluation
from model_build.promotion.held_out.decision import DecisionEvaluation
from model_build.promotion.held_out.encoder import EncoderEvaluation
from model_build.promotion.held_out.evaluation import Evaluation
from model_build.promotion.held_out.ranker import RankerEvaluation
from model_build.promotion.held_out.understanding import UnderstandingEvaluation
from model_build.recipes import RECIPES
from model_build.retrieve import retriever
from model_build.train.decision_turns import simulate_turns
from model_build.train.histories import next_purchases, purchase_counts
from serving.models.repository import PublishedVersion

_DECISION_TURNS = 10_000
# Of the generator for turns that no training simulates.
_DECISION_STREAM = 5


def materials_of(version: PublishedVersion, data_folder: Path | None) -> Materials:
    """The data of the version's build, as far as its manifest tells.

    Raises:
        StartupError: a file of the data folder is missing; names it.
    """
    manifest = version.manifest
    profile = PROFILES.get(str(manifest.config.get("profile")), PROFILES["full"])
    materials = Materials(manifest.seed, profile, data_folder)
    materials.check()
    return materials


def learnt_from(version: PublishedVersion, materials: Materials) -> bool:
    """Whether the version was made from these data, so that the rest of them is held out for it."""
    manifest = version.manifest
    recipe = next(recipe for recipe in RECIPES if recipe.model == manifest.model)
    return not recipe.uses_shop or recipe.note(materials).digest == manifest.data_digest


def evaluation_of(
    model: str, materials: Materials, candidates: Callable[[], PublishedVersion]
) -> Evaluation:
    """The held-out samples of a model.

    Args:
        model: its name.
        materials: what they are taken from.
        candidates: the version of `candidates` whose lists the ranker orders; only asked for that.

    Raises:
        DataError: the data are malformed.
    """
    if model == "understanding":
        return UnderstandingEvaluation(materials.held_out_utterances)
    if model == "encoder":
        return EncoderEvaluation(make_articles())
    if model == "decision":
        rng = materials.rng("held_out", _DECISION_STREAM)
        return DecisionEvaluation(simulate_turns(_DECISION_TURNS, rng))
    timeline = materials.timeline
    purchases = next_purchases(timeline.past, timeline.held_out)
    if model == "candidates":
        return CandidatesEvaluation(purchases)
    return RankerEvaluation(
        materials.shop.products,
        purchase_counts(timeline.ranker_past),
        purchases,
        retriever(candidates().folder),
    )

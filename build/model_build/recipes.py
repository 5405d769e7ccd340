"""How each model is made: what it depends on, and the call that trains it.

Training code is imported when a model is really trained: PyTorch takes seconds to import, and most
builds find everything there.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_build.data.digest import shop_digest, utterances_digest
from model_build.materials import Materials
from model_build.progress import Tracker

if TYPE_CHECKING:
    from model_build.train.trained import TrainedModel

# Folders of the published versions that a model is made with, by model.
Published = Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class DataNote:
    """What a model learnt from, for its manifest."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made."""

    model: str
    make: Callable[[Materials, Published, Tracker], "TrainedModel"]
    note: Callable[[Materials], DataNote]
    # Modules of `serving` whose change changes the model.
    serving_modules: tuple[str, ...] = ()
    # Fields of the profile that matter.
    profile_fields: tuple[str, ...] = ()
    uses_shop: bool = False
    # Models that must be published before.
    needs: tuple[str, ...] = ()
    # Leaves the weights in a folder, with the key of the build.
    write_checkpoint: Callable[["TrainedModel", Path, str], None] | None = None


def _understanding(materials: Materials, published: Published, tracker: Tracker) -> "TrainedModel":
    from model_build.train.understanding import UnderstandingSettings, train_understanding
    from model_build.train.understanding_evaluation import UnderstandingData

    profile = materials.profile
    return train_understanding(
        UnderstandingData(train=materials.train_utterances, held_out=materials.held_out_utterances),
        UnderstandingSettings(
            frozen_layers=profile.understanding_frozen_layers, epochs=profile.understanding_epochs
        ),
        materials.rng("training", 1),
        tracker,
    )


def _understanding_checkpoint(trained: "TrainedModel", folder: Path, build_key: str) -> None:
    from model_build.train.checkpoint import write_checkpoint
    from model_build.train.understanding_model import UnderstandingModel

    assert isinstance(trained.module, UnderstandingModel)
    write_checkpoint(trained.module, folder, build_key)


def _encoder(materials: Materials, published: Published, tracker: Tracker) -> "TrainedModel":
    from model_build.data.articles import make_articles
    from model_build.train.encoder import pretrained_encoder
    from serving.steps.encode import article_text

    articles = make_articles()
    texts = [*(article_text(a) for a in articles), *(a.title for a in articles)]
    return pretrained_encoder(texts, materials.rng("training", 2))


def _candidates(materials: Materials, published: Published, tracker: Tracker) -> "TrainedModel":
    from model_build.train.candidates import (
        CandidatesData,
        CandidatesSettings,
        train_candidates,
    )

    timeline = materials.timeline
    return train_candidates(
        CandidatesData(
            products=materials.shop.products,
            train=timeline.candidates_train,
            past=timeline.past,
            held_out=timeline.held_out,
        ),
        CandidatesSettings(epochs=materials.profile.candidates_epochs),
        materials.rng("training", 3),
        tracker,
    )


def _ranker(materials: Materials, published: Published, tracker: Tracker) -> "TrainedModel":
    from model_build.retrieve import retriever
    from model_build.train.histories import next_purchases, purchase_counts
    from model_build.train.ranker import RankerData, RankerSettings, train_ranker

    timeline = materials.timeline
    return train_ranker(
        RankerData(
            products=materials.shop.products,
            popularity=purchase_counts(timeline.ranker_past),
            train=tuple(
                next_purchases(timeline.ranker_past, timeline.ranker_window, most_per_customer=3)
            ),
            held_out=tuple(next_purchases(timeline.past, timeline.held_out)),
        ),
        retriever(published["candidates"]),
        RankerSettings(epochs=materials.profile.ranker_epochs),
        materials.rng("training", 4),
        tracker,
    )


def _decision(materials: Materials, published: Published, tracker: Tracker) -> "TrainedModel":
    from model_build.train.decision import DecisionSettings, train_decision

    profile = materials.profile
    return train_decision(
        DecisionSettings(turns=profile.decision_turns, epochs=profile.decision_epochs),
        materials.rng("training", 5),
        tracker,
    )


def _utterances_note(materials: Materials) -> DataNote:
    names = " + ".join(materials.held_out_utterances)
    return DataNote(
        name=f"{names} utterances", digest=utterances_digest(materials.train_utterances)
    )


def _shop_note(materials: Materials) -> DataNote:
    return DataNote(name=f"{materials.shop.name} shop", digest=shop_digest(materials.shop))


def _pretrained_note(materials: Materials) -> DataNote:
    from model_build.train.minilm import pretrained_folder
    from serving.models.manifest import sha256_of

    weights = pretrained_folder() / "model.safetensors"
    return DataNote(name="all-MiniLM-L6-v2, pretrained", digest=sha256_of(weights))


def _simulation_note(materials: Materials) -> DataNote:
    turns = f"{materials.profile.decision_turns} turns, seed {materials.seed}"
    return DataNote(name="simulated turns", digest=hashlib.sha256(turns.encode()).hexdigest())


_HISTORY = ("serving.features", "serving.pipelines.past")
# In the order of the build.
RECIPES: tuple[Recipe, ...] = (
    Recipe(
        model="understanding",
        make=_understanding,
        note=_utterances_note,
        serving_modules=(
            "serving.types",
            "serving.dialogue.intents",
            "serving.models.tokenizer",
        ),
        profile_fields=(
            "utterances_per_intent",
            "utterances_per_intent_beside_real",
            "understanding_frozen_layers",
            "understanding_epochs",
            "most_real_utterances",
        ),
        uses_shop=True,
        write_checkpoint=_understanding_checkpoint,
    ),
    Recipe(
        model="encoder",
        make=_encoder,
        note=_pretrained_note,
        serving_modules=("serving.models.tokenizer",),
    ),
    Recipe(
        model="candidates",
        make=_candidates,
        note=_shop_note,
        serving_modules=(*_HISTORY, "serving.words"),
        profile_fields=("customers_share", "candidates_epochs"),
        uses_shop=True,
    ),
    Recipe(
        model="ranker",
        make=_ranker,
        note=_shop_note,
        serving_modules=_HISTORY,
        profile_fields=("customers_share", "ranker_epochs"),
        uses_shop=True,
        needs=("candidates",),
    ),
    Recipe(
        model="decision",
        make=_decision,
        note=_simulation_note,
        serving_modules=("serving.types", "serving.dialogue.intents", "serving.features"),
        profile_fields=("decision_turns", "decision_epochs"),
    ),
)

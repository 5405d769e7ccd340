"""Composition without Ray: assets, a model client and stores become steps, steps pipelines.

load_assets ─▶ build_steps ─▶ (place some elsewhere) ─▶ build_pipelines
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from serving.assets import Assets, load_assets
from serving.catalogue import Catalogue
from serving.models.client import ModelClient
from serving.pipelines.answer import AnswerPipeline
from serving.pipelines.consider import Consider
from serving.pipelines.converse import ConversePipeline
from serving.pipelines.decide import DecidePipeline
from serving.pipelines.events import RecordEventsPipeline
from serving.pipelines.knowledge import KnowledgePipeline
from serving.pipelines.recommend import RecommendPipeline
from serving.pipelines.understand import UnderstandPipeline
from serving.settings import Settings
from serving.steps.decide import Decide, DecideInput
from serving.steps.encode import Embeddings, Encode, EncodeInput, encoder_name
from serving.steps.generate_candidates import (
    Candidates,
    GenerateCandidates,
    GenerateCandidatesInput,
)
from serving.steps.placement import Step
from serving.steps.rank import Rank, Ranking, RankInput
from serving.steps.retrieve import Retrieve, RetrieveInput, RetrieveWords
from serving.steps.understand import Understand, UnderstandInput
from serving.stores.protocols import HistoryStore, KnowledgeStore, SessionStore, ShopStore
from serving.types import Decision, Passage, Understanding

__all__ = [
    "Assets",
    "Pipelines",
    "Steps",
    "Stores",
    "build_pipelines",
    "build_steps",
    "load_assets",
]


class Stores(Protocol):
    """The four stores, whatever their backend."""

    @property
    def sessions(self) -> SessionStore:
        """Dialogue state."""
        ...

    @property
    def history(self) -> HistoryStore:
        """Behaviour events."""
        ...

    @property
    def knowledge(self) -> KnowledgeStore:
        """The knowledge base."""
        ...

    @property
    def shop(self) -> ShopStore:
        """Catalogue and orders."""
        ...


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Every step that asks a model; those named in `PlacementSettings` may lie elsewhere."""

    understand: Step[UnderstandInput, Understanding]
    encode: Step[EncodeInput, Embeddings]
    retrieve: Step[RetrieveInput, tuple[Passage, ...]]
    generate_candidates: Step[GenerateCandidatesInput, Candidates]
    rank: Step[RankInput, Ranking]
    decide: Step[DecideInput, Decision]
    # What `rank` and `generate_candidates` look products up in; the pipelines share it.
    catalogue: Catalogue

    def placed(self, elsewhere: Mapping[str, Step[Any, Any]]) -> "Steps":
        """The same steps, but for those in `elsewhere`, by their names."""
        others: dict[str, Any] = dict(elsewhere)
        return replace(self, **others)


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """What the ingress calls."""

    understand: UnderstandPipeline
    answer: AnswerPipeline
    recommend: RecommendPipeline
    decide: DecidePipeline
    converse: ConversePipeline
    record_events: RecordEventsPipeline
    knowledge: KnowledgePipeline


def build_steps(assets: Assets, client: ModelClient, stores: Stores) -> Steps:
    """Every step in this process. Opens nothing and reads nothing."""
    catalogue = Catalogue(stores.shop, assets.product_vocabulary, assets.category_vocabulary)
    encode = Encode(client, assets.encoder_tokenizer)
    return Steps(
        understand=Understand(client, assets.understanding_tokenizer, assets.labels),
        encode=encode,
        retrieve=Retrieve(stores.knowledge, encode),
        generate_candidates=GenerateCandidates(client, assets.products, catalogue),
        rank=Rank(client, catalogue),
        decide=Decide(client, assets.decision_means),
        catalogue=catalogue,
    )


def build_pipelines(settings: Settings, assets: Assets, steps: Steps, stores: Stores) -> Pipelines:
    """Every pipeline over the given steps."""
    answer = AnswerPipeline(
        steps.retrieve, RetrieveWords(stores.knowledge), settings.dialogue.min_answer_score
    )
    recommend = RecommendPipeline(
        steps.generate_candidates, steps.rank, steps.catalogue, stores.history
    )
    consider = Consider(
        understand=steps.understand,
        decide=steps.decide,
        answer=answer,
        recommend=recommend,
        sessions=stores.sessions,
        histories=stores.history,
        shop=stores.shop,
        settings=settings.dialogue,
    )
    return Pipelines(
        understand=UnderstandPipeline(steps.understand),
        answer=answer,
        recommend=recommend,
        decide=DecidePipeline(consider),
        converse=ConversePipeline(consider, stores.sessions),
        record_events=RecordEventsPipeline(stores.history, steps.catalogue),
        knowledge=KnowledgePipeline(
            stores.knowledge, steps.encode, encoder_name(assets.manifests["encoder"].version)
        ),
    )

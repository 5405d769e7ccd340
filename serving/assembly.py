"""Composition without Ray: versions' assets, their clients and stores become steps, then pipelines.

load_assets ─▶ ModelSteps.open ─▶ steps ─▶ (place some elsewhere) ─▶ build_pipelines
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from serving.assets import (
    CandidatesAssets,
    DecisionAssets,
    EncoderAssets,
    ModelAssets,
    RankerAssets,
    UnderstandingAssets,
)
from serving.catalogue import Catalogue, RankerVocabulary
from serving.models.client import ModelClient
from serving.models.manifest import ModelManifest
from serving.models.version import ModelVersion
from serving.pipelines.answer import AnswerPipeline
from serving.pipelines.consider import Consider
from serving.pipelines.converse import ConversePipeline
from serving.pipelines.decide import DecidePipeline
from serving.pipelines.events import RecordEventsPipeline
from serving.pipelines.feedback import RecordFeedbackPipeline
from serving.pipelines.knowledge import KnowledgePipeline
from serving.pipelines.recommend import RecommendPipeline
from serving.pipelines.understand import UnderstandPipeline
from serving.recording.masking import Masker
from serving.settings import Settings
from serving.steps.decide import Decide, DecideInput
from serving.steps.encode import Embeddings, Encode, EncodeInput
from serving.steps.generate_candidates import (
    Candidates,
    GenerateCandidates,
    GenerateCandidatesInput,
)
from serving.steps.placement import Step
from serving.steps.rank import Rank, Ranking, RankInput
from serving.steps.retrieve import Retrieve, RetrieveInput, RetrieveWords
from serving.steps.understand import Understand, UnderstandInput
from serving.stores.protocols import (
    FeedbackStore,
    HistoryStore,
    KnowledgeStore,
    SessionStore,
    ShopStore,
)
from serving.types import Decision, Passage, Understanding
from serving.versions.routing import Router
from serving.versions.shadow import Shadows
from serving.versions.step import VersionedStep


class Stores(Protocol):
    """The stores, whatever their backend."""

    @property
    def sessions(self) -> SessionStore:
        """Dialogue state."""
        ...

    @property
    def history(self) -> HistoryStore:
        """Behaviour events."""
        ...

    @property
    def feedback(self) -> FeedbackStore:
        """What customers think of replies."""
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
    record_feedback: RecordFeedbackPipeline
    knowledge: KnowledgePipeline


class Clients(Protocol):
    """Makes and ends the clients of single versions; see `serving.triton.client`."""

    def open(self, manifest: ModelManifest) -> ModelClient:
        """The client of one version."""
        ...

    def close_version(self, version: ModelVersion) -> None:
        """Ends it."""
        ...


class ModelSteps:
    """The steps that ask models, each over every version that is open."""

    def __init__(
        self, router: Router, clients: Clients, stores: Stores, shadows: Shadows | None = None
    ) -> None:
        """Opens no version yet, and reads nothing.

        Args:
            router: chooses the version for each request.
            clients: of the versions.
            stores: what the steps look things up in.
            shadows: asks shadows behind the real answers; None for never.
        """
        self._clients = clients
        self._catalogue = Catalogue(stores.shop)
        self._open: dict[ModelVersion, ModelAssets] = {}
        self._understand: VersionedStep[UnderstandInput, Understanding] = VersionedStep(
            "understanding", router, shadows
        )
        self._encode: VersionedStep[EncodeInput, Embeddings] = VersionedStep(
            "encoder", router, shadows
        )
        self._generate_candidates: VersionedStep[GenerateCandidatesInput, Candidates] = (
            VersionedStep("candidates", router, shadows)
        )
        self._rank: VersionedStep[RankInput, Ranking] = VersionedStep("ranker", router, shadows)
        self._decide: VersionedStep[DecideInput, Decision] = VersionedStep(
            "decision", router, shadows
        )
        self.steps = Steps(
            understand=self._understand,
            encode=self._encode,
            retrieve=Retrieve(stores.knowledge, self._encode),
            generate_candidates=self._generate_candidates,
            rank=self._rank,
            decide=self._decide,
            catalogue=self._catalogue,
        )

    def opened(self) -> Mapping[ModelVersion, ModelAssets]:
        """The versions that can be asked in this process."""
        return self._open

    def open(self, assets: ModelAssets) -> None:
        """From now on the version can be asked here."""
        manifest = assets.manifest
        version = manifest.version
        client = self._clients.open(manifest)
        match assets:
            case UnderstandingAssets():
                self._understand.put(version, Understand(client, assets.tokenizer, assets.labels))
            case EncoderAssets():
                self._encode.put(version, Encode(client, assets.tokenizer))
            case CandidatesAssets():
                self._generate_candidates.put(
                    version, GenerateCandidates(client, assets.products, self._catalogue)
                )
            case RankerAssets():
                vocabulary = RankerVocabulary(
                    products=assets.product_vocabulary, categories=assets.category_vocabulary
                )
                self._catalogue.put_vocabulary(version, vocabulary)
                self._rank.put(version, Rank(client, self._catalogue, version))
            case DecisionAssets():
                self._decide.put(version, Decide(client, assets.means))
        self._open[ModelVersion(manifest.model, version)] = assets

    def close(self, version: ModelVersion) -> None:
        """Forgets a version; requests that have begun with it go on."""
        self._open.pop(version, None)
        for step in (
            self._understand,
            self._encode,
            self._generate_candidates,
            self._rank,
            self._decide,
        ):
            if step.model == version.model:
                step.drop(version.version)
        if version.model == "ranker":
            self._catalogue.drop_vocabulary(version.version)
        self._clients.close_version(version)


def build_pipelines(
    settings: Settings,
    steps: Steps,
    stores: Stores,
    encoders: Callable[[], Sequence[int]],
    masker: Masker,
) -> Pipelines:
    """Every pipeline over the given steps.

    Args:
        settings: the whole tree.
        steps: what the pipelines run.
        stores: what they read and write.
        encoders: tells the encoder's versions to keep up.
        masker: of what customers write about replies.
    """
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
        record_feedback=RecordFeedbackPipeline(
            stores.feedback, masker, settings.ledger.folder if settings.ledger.enabled else None
        ),
        knowledge=KnowledgePipeline(stores.knowledge, steps.encode, encoders),
    )

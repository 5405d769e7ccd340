"""The files published with the models that the request path reads: tokenizers, labels and more.

Each is checked against what the steps rely on, so that a mismatch shows when the stack starts.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StartupError
from serving.features import DecisionFeatures
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository, PublishedVersion
from serving.models.tokenizer import Tokenizer
from serving.settings import Settings
from serving.steps.understand import UnderstandingLabels
from serving.types import Sentiment

MODELS = ("understanding", "encoder", "candidates", "ranker", "decision")

Temperature = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Asset(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Labels(_Asset):
    intents: Names
    slot_tags: Names
    sentiments: Names
    intent_temperature: Temperature
    out_of_scope_temperature: Temperature
    max_length: int


class _Vocabulary(_Asset):
    products: tuple[str, ...]
    categories: tuple[str, ...]


class _Features(_Asset):
    names: tuple[str, ...]
    means: tuple[float, ...]


class _Products(_Asset):
    ids: Names


class _EncoderConfig(_Asset):
    max_length: int


Parsed = TypeVar("Parsed", bound=_Asset)


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Everything of the model repository that steps are built from."""

    manifests: dict[str, ModelManifest]
    understanding_tokenizer: Tokenizer
    labels: UnderstandingLabels
    encoder_tokenizer: Tokenizer
    # Entry i has the candidates model's item index i + 1.
    products: tuple[str, ...]
    # The ranker's; entry i has the index i + 1.
    product_vocabulary: tuple[str, ...]
    category_vocabulary: tuple[str, ...]
    # In the order of `DecisionFeatures`.
    decision_means: tuple[float, ...]


def load_assets(settings: Settings) -> Assets:
    """Reads the assets of the latest version of every model.

    Raises:
        StartupError: a model or a file is missing, or does not hold what it should; names the file
            and the field.
    """
    repository = ModelRepository(settings.triton.model_repository)
    versions = {model: repository.latest(model) for model in MODELS}
    understanding, encoder = versions["understanding"], versions["encoder"]
    labels = _labels(understanding)
    encoder_config = _parse(
        _EncoderConfig, encoder.manifest.config, f"{encoder.folder}/manifest.json: config"
    )
    vocabulary = _read(_Vocabulary, versions["ranker"], "vocabulary.json")
    candidates = versions["candidates"]
    products = _parse(
        _Products,
        {"ids": candidates.json_asset("products.json")},
        str(candidates.asset_path("products.json")),
    )
    return Assets(
        manifests={model: version.manifest for model, version in versions.items()},
        understanding_tokenizer=_tokenizer(understanding, labels.max_length),
        labels=labels,
        encoder_tokenizer=_tokenizer(encoder, encoder_config.max_length),
        products=products.ids,
        product_vocabulary=vocabulary.products,
        category_vocabulary=vocabulary.categories,
        decision_means=_decision_means(versions["decision"]),
    )


def _labels(version: PublishedVersion) -> UnderstandingLabels:
    labels = _read(_Labels, version, "labels.json")
    path = version.folder / "labels.json"
    wanted = {sentiment.value for sentiment in Sentiment}
    if set(labels.sentiments) != wanted or len(labels.sentiments) != len(wanted):
        raise StartupError(
            f"{path}: sentiments: must be {sorted(wanted)}, got {list(labels.sentiments)}"
        )
    for tag in labels.slot_tags:
        if tag != "O" and tag[:2] not in ("B-", "I-"):
            raise StartupError(f"{path}: slot_tags: {tag!r} is not O, B-… or I-…")
    sizes = {
        "intent_logits": len(labels.intents),
        "slot_logits": len(labels.slot_tags),
        "sentiment_logits": len(labels.sentiments),
    }
    for output in version.manifest.outputs:
        size = sizes.get(output.name)
        if size is not None and output.dims[-1] not in (size, -1):
            raise StartupError(
                f"{path}: lists {size} classes for {output.name}, the model has {output.dims[-1]}"
            )
    return UnderstandingLabels(
        intents=labels.intents,
        slot_tags=labels.slot_tags,
        sentiments=labels.sentiments,
        intent_temperature=labels.intent_temperature,
        out_of_scope_temperature=labels.out_of_scope_temperature,
        max_length=labels.max_length,
    )


def _decision_means(version: PublishedVersion) -> tuple[float, ...]:
    features = _read(_Features, version, "features.json")
    path = version.folder / "features.json"
    if features.names != DecisionFeatures.names():
        different = [
            f"{have} instead of {want}"
            for have, want in zip(features.names, DecisionFeatures.names(), strict=False)
            if have != want
        ]
        raise StartupError(
            f"{path}: names: the model was trained on other features than this version computes: "
            f"{different[0] if different else f'{len(features.names)} features'}"
        )
    if len(features.means) != len(features.names):
        raise StartupError(
            f"{path}: means: has {len(features.means)} numbers for {len(features.names)} features"
        )
    return features.means


def _tokenizer(version: PublishedVersion, max_length: int) -> Tokenizer:
    path = version.asset_path("tokenizer.json")
    try:
        return Tokenizer.from_file(path, max_length)
    except StartupError as error:
        raise StartupError(f"{version.folder}: {error.message}") from error


def _read(kind: type[Parsed], version: PublishedVersion, name: str) -> Parsed:
    return _parse(kind, version.json_asset(name), str(version.folder / name))


def _parse(kind: type[Parsed], values: object, where: str) -> Parsed:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise StartupError(f"{where}: {field}: {first['msg']}") from error


def read_understanding(version: PublishedVersion) -> tuple[Tokenizer, UnderstandingLabels]:
    """What one version of `understanding` reads texts and names its classes with.

    Raises:
        StartupError: a file is missing or does not hold what it should; names it and the field.
    """
    labels = _labels(version)
    return _tokenizer(version, labels.max_length), labels

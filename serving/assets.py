"""The files published with the models that the request path reads: tokenizers, labels and more.

Each is checked against what the steps rely on: a mismatch shows before a version answers anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StartupError
from serving.features import DecisionFeatures
from serving.models.manifest import ModelManifest, sha256_of
from serving.models.repository import PublishedVersion
from serving.models.tokenizer import Tokenizer
from serving.steps.understand import UnderstandingLabels
from serving.types import Sentiment

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
class UnderstandingAssets:
    """What reading an utterance needs."""

    manifest: ModelManifest
    tokenizer: Tokenizer
    labels: UnderstandingLabels


@dataclass(frozen=True, kw_only=True)
class EncoderAssets:
    """What encoding a text needs."""

    manifest: ModelManifest
    tokenizer: Tokenizer


@dataclass(frozen=True, kw_only=True)
class CandidatesAssets:
    """What proposing products needs."""

    manifest: ModelManifest
    # Entry i has the model's item index i + 1.
    products: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RankerAssets:
    """What ranking products needs; entry i of a vocabulary has the index i + 1."""

    manifest: ModelManifest
    product_vocabulary: tuple[str, ...]
    category_vocabulary: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DecisionAssets:
    """What deciding needs."""

    manifest: ModelManifest
    # In the order of `DecisionFeatures`.
    means: tuple[float, ...]


ModelAssets = UnderstandingAssets | EncoderAssets | CandidatesAssets | RankerAssets | DecisionAssets


def load_assets(version: PublishedVersion) -> ModelAssets:
    """Reads the assets of a published version.

    Raises:
        StartupError: the request path knows no such model, or a file is missing or does not hold
            what it should; names the file and the field.
    """
    loader = _LOADERS.get(version.manifest.model)
    if loader is None:
        raise StartupError(
            f"{version.folder}: no step uses a model {version.manifest.model!r}; "
            f"those that are used: {', '.join(MODELS)}"
        )
    return loader(version)


def _understanding(version: PublishedVersion) -> UnderstandingAssets:
    labels = _labels(version)
    return UnderstandingAssets(
        manifest=version.manifest, tokenizer=_tokenizer(version, labels.max_length), labels=labels
    )


def _encoder(version: PublishedVersion) -> EncoderAssets:
    where = f"{version.folder}/manifest.json: config"
    config = _parse(_EncoderConfig, version.manifest.config, where)
    return EncoderAssets(
        manifest=version.manifest, tokenizer=_tokenizer(version, config.max_length)
    )


def _candidates(version: PublishedVersion) -> CandidatesAssets:
    name = "products.json"
    products = _parse(_Products, {"ids": version.json_asset(name)}, str(version.asset_path(name)))
    return CandidatesAssets(manifest=version.manifest, products=products.ids)


def _ranker(version: PublishedVersion) -> RankerAssets:
    vocabulary = _read(_Vocabulary, version, "vocabulary.json")
    return RankerAssets(
        manifest=version.manifest,
        product_vocabulary=vocabulary.products,
        category_vocabulary=vocabulary.categories,
    )


def _decision(version: PublishedVersion) -> DecisionAssets:
    return DecisionAssets(manifest=version.manifest, means=_decision_means(version))


_LOADERS: Mapping[str, Callable[[PublishedVersion], ModelAssets]] = {
    "understanding": _understanding,
    "encoder": _encoder,
    "candidates": _candidates,
    "ranker": _ranker,
    "decision": _decision,
}
MODELS = tuple(_LOADERS)


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


# By digest of the file and longest length. A version that was trained anew most often has the
# tokenizer of the one before: parsing it again would stop the interpreter for 20 ms while the
# process serves, and the words that came before would have to be learned again.
_open_tokenizers: WeakValueDictionary[tuple[str, int], Tokenizer] = WeakValueDictionary()


def _tokenizer(version: PublishedVersion, max_length: int) -> Tokenizer:
    path = version.asset_path("tokenizer.json")
    try:
        key = (sha256_of(path), max_length)
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror or error}") from error
    tokenizer = _open_tokenizers.get(key)
    if tokenizer is None:
        try:
            tokenizer = Tokenizer.from_file(path, max_length)
        except StartupError as error:
            raise StartupError(f"{version.folder}: {error.message}") from error
        _open_tokenizers[key] = tokenizer
    return tokenizer


def _read(kind: type[Parsed], version: PublishedVersion, name: str) -> Parsed:
    return _parse(kind, version.json_asset(name), str(version.folder / name))


def _parse(kind: type[Parsed], values: object, where: str) -> Parsed:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise StartupError(f"{where}: {field}: {first['msg']}") from error

"""Assets are read from a model repository, and a mismatch is refused with the file and field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.assets import (
    MODELS,
    CandidatesAssets,
    DecisionAssets,
    EncoderAssets,
    ModelAssets,
    RankerAssets,
    UnderstandingAssets,
    load_assets,
)
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import StartupError
from serving.features import DecisionFeatures
from serving.models.manifest import TensorSpec
from serving.models.repository import ModelRepository
from serving.models.tokenizer import Tokenizer
from tests.fakes.models import LEXICON
from tests.fakes.tokens import small_tokenizer
from tests.fakes.world import manifest

LABELS = {
    "intents": INTENT_NAMES,
    "slot_tags": SLOT_TAGS,
    "sentiments": ("negative", "neutral", "positive"),
    "intent_temperature": 1.2,
    "out_of_scope_temperature": 0.9,
    "max_length": 64,
}
FEATURES = {
    "names": DecisionFeatures.names(),
    "means": [0.5] * len(DecisionFeatures.names()),
    "scales": [1.0] * len(DecisionFeatures.names()),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with version 2 of every model; version 1 is an empty folder."""
    for model in MODELS:
        folder = tmp_path / model / "2"
        folder.mkdir(parents=True)
        (tmp_path / model / "1").mkdir()
        published = manifest(model, 2).model_copy(update={"config": {"max_length": 128}})
        published.write(folder)
    outputs = (
        TensorSpec(name="intent_logits", dtype="FP32", dims=(len(INTENT_NAMES),)),
        TensorSpec(name="slot_logits", dtype="FP32", dims=(-1, len(SLOT_TAGS))),
    )
    understanding = manifest("understanding", 2).model_copy(update={"outputs": outputs})
    understanding.write(tmp_path / "understanding" / "2")
    for model in ("understanding", "encoder"):
        small_tokenizer(LEXICON).save(str(tmp_path / model / "2" / "tokenizer.json"))
    write(tmp_path, "understanding", "labels.json", LABELS)
    write(tmp_path, "candidates", "products.json", ["p1", "p2"])
    write(tmp_path, "ranker", "vocabulary.json", {"products": ["p1"], "categories": ["c"]})
    write(tmp_path, "decision", "features.json", FEATURES)
    return tmp_path


def write(root: Path, model: str, name: str, value: object) -> None:
    (root / model / "2" / name).write_text(json.dumps(value))


def load(root: Path) -> dict[str, ModelAssets]:
    repository = ModelRepository(root)
    return {model: load_assets(repository.version(model, 2)) for model in MODELS}


def test_what_each_model_needs_is_read(root: Path) -> None:
    found = load(root)
    assert {(a.manifest.model, a.manifest.version) for a in found.values()} == {
        (model, 2) for model in MODELS
    }
    understanding, encoder = found["understanding"], found["encoder"]
    assert isinstance(understanding, UnderstandingAssets)
    assert understanding.labels.intent_temperature == 1.2
    assert isinstance(encoder, EncoderAssets)
    assert encoder.tokenizer.encode(["where"]).input_ids.shape == (1, 3)
    candidates, ranker, decision = found["candidates"], found["ranker"], found["decision"]
    assert isinstance(candidates, CandidatesAssets)
    assert candidates.products == ("p1", "p2")
    assert isinstance(ranker, RankerAssets)
    assert ranker.product_vocabulary == ("p1",)
    assert isinstance(decision, DecisionAssets)
    assert decision.means[0] == 0.5


def test_versions_with_the_same_tokenizer_share_it(root: Path) -> None:
    def tokenizer() -> Tokenizer:
        assets = load_assets(ModelRepository(root).version("understanding", 2))
        assert isinstance(assets, UnderstandingAssets)
        return assets.tokenizer

    first = tokenizer()
    assert tokenizer() is first
    write(root, "understanding", "labels.json", {**LABELS, "max_length": 32})
    shorter = tokenizer()
    assert shorter is not first
    small_tokenizer((*LEXICON, "other")).save(str(root / "understanding" / "2" / "tokenizer.json"))
    assert tokenizer() is not shorter


def test_a_model_that_no_step_uses_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weather" / "1"
    folder.mkdir(parents=True)
    manifest("weather", 1).write(folder)
    with pytest.raises(StartupError, match="no step uses a model 'weather'"):
        load_assets(ModelRepository(tmp_path).version("weather", 1))


def breaking(model: str, name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / model / "2" / name
        write(root, model, name, change(json.loads(path.read_text())))

    return apply


def removing(model: str, name: str) -> Callable[[Path], None]:
    return lambda root: (root / model / "2" / name).unlink()


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (removing("ranker", "vocabulary.json"), "ranker/2/vocabulary.json: asset is missing"),
        (removing("decision", "manifest.json"), "decision/2/manifest.json: cannot be read"),
        (removing("encoder", "tokenizer.json"), "encoder/2/tokenizer.json: asset is missing"),
        (
            breaking("encoder", "tokenizer.json", lambda old: {**old, "model": None}),
            "encoder/2/tokenizer.json: not a tokenizer",
        ),
        (
            breaking("encoder", "manifest.json", lambda old: {**old, "config": {}}),
            "encoder/2/manifest.json: config: max_length",
        ),
        (
            breaking("understanding", "labels.json", lambda old: {**old, "max_length": -1}),
            "understanding/2: max_length: must be positive, got -1",
        ),
        (
            breaking("understanding", "labels.json", lambda old: {**old, "intents": ["a"]}),
            "labels.json: lists 1 classes for intent_logits",
        ),
        (
            breaking("understanding", "labels.json", lambda old: {**old, "sentiments": ["bad"]}),
            "labels.json: sentiments: must be",
        ),
        (
            breaking(
                "understanding",
                "labels.json",
                lambda old: {**old, "slot_tags": ["X-a", *old["slot_tags"][1:]]},
            ),
            "labels.json: slot_tags: 'X-a'",
        ),
        (
            breaking("understanding", "labels.json", lambda old: {**old, "intent_temperature": 0}),
            "labels.json: intent_temperature",
        ),
        (breaking("candidates", "products.json", lambda old: []), "products.json: ids"),
        (
            breaking("ranker", "vocabulary.json", lambda old: {"products": ["p1"]}),
            "vocabulary.json: categories",
        ),
        (
            breaking("decision", "features.json", lambda old: {**old, "means": [1.0]}),
            "features.json: means: has 1 numbers for 22 features",
        ),
        (
            breaking(
                "decision",
                "features.json",
                lambda old: {**old, "names": ["mood", *old["names"][1:]]},
            ),
            "features.json: names: .*mood instead of group_order",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_by_file_and_field(
    root: Path, fault: Callable[[Path], None], named: str
) -> None:
    fault(root)
    with pytest.raises(StartupError, match=named):
        load(root)

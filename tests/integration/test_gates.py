"""The gates on real models and a real tritonserver: good, damaged and slowed versions."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from model_build.promotion.command import gate_command
from model_build.publish import publish_again
from serving.errors import StartupError
from serving.models.repository import ModelRepository
from serving.versions import lineup as rules
from serving.versions.gatekeeping import gated_promotion
from serving.versions.lineup import StepRefused
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate, Outcome, Verdict
from tests.damaged_versions import (
    Change,
    columns_reversed,
    mostly_forgotten,
    publish_changed,
    slowed,
    turned_round,
)
from tests.integration.conftest import BuiltModels

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

MODEL = "understanding"
# A machine that others keep busy must not decide: what is slow here is many times as slow.
LATENCY = ("--slower", "0.9", "--minutes", "0.25")


@pytest.fixture(scope="module")
def repository(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest of the quick models, in a repository of its own."""
    folder = tmp_path_factory.mktemp("gates") / "models"
    known = ModelRepository(models.repository)
    for config in models.repository.glob("*/config.pbtxt"):
        newest = known.latest(config.parent.name).folder
        target = folder / config.parent.name
        shutil.copytree(newest, target / newest.name, copy_function=os.link)
        shutil.copy(config, target)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VersionStore:
    monkeypatch.setenv("CARTWRIGHT_STORES__FOLDER", str(tmp_path))
    return VersionStore(tmp_path / FILE_NAME)


def first(repository: Path, model: str) -> int:
    """The version that was built; the others come from it."""
    return ModelRepository(repository).versions(model)[0]


def make_live(store: VersionStore, model: str, version: int) -> None:
    for name in ("stage", "promote"):
        step: Any = getattr(rules, name)
        store.apply(
            model, lambda at, step=step: step(at, version), action=name, author="a", reason="b"
        )


def gate(
    models: BuiltModels, repository: Path, model: str, version: int, *arguments: str
) -> Result:
    return CliRunner().invoke(
        gate_command,
        [
            *(model, str(version), "--repository", str(repository), "--shop", str(models.shop)),
            *arguments,
        ],
        catch_exceptions=False,
    )


def by_gate(store: VersionStore, model: str, version: int) -> dict[Gate, Verdict]:
    return {verdict.gate: verdict for verdict in store.verdicts(model, version)}


def changed(
    repository: Path,
    change: Change,
    model: str = MODEL,
    kinds: tuple[str, ...] = ("onnx", "onnx-int8"),
) -> int:
    """A version that differs in its artifacts of these kinds."""
    return publish_changed(repository, model, first(repository, model), change, kinds)


def test_a_version_that_is_the_live_one_passes_and_may_be_promoted(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    """Latency is passed in tests/integration/test_promotion_page.py; it takes a while."""
    live = first(repository, MODEL)
    make_live(store, MODEL, live)
    again = publish_again(repository, MODEL, live, 1).version
    ran = gate(models, repository, MODEL, again, "--only", "parity,quality", "--json")
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert [(v["gate"], v["outcome"]) for v in document] == [
        ("parity", "passed"),
        ("quality", "passed"),
    ]
    stored = by_gate(store, MODEL, again)
    needed = (Gate.PARITY, Gate.QUALITY)
    assert [stored[gate].to_document() for gate in needed] == document
    assert (stored[Gate.PARITY].against, stored[Gate.QUALITY].against) == (None, live)
    step = gated_promotion(again, needed, store.verdicts(MODEL, again))
    assert step(rules.stage(store.read(MODEL)[0], again)).live == again


def test_a_version_that_is_quietly_wrong_fails_quality_and_is_not_promoted(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    live = first(repository, MODEL)
    make_live(store, MODEL, live)
    # As if it had been trained so: its artifact does what its source does.
    wrong = changed(repository, columns_reversed("intent_logits"))
    ran = gate(models, repository, MODEL, wrong, "--only", "quality,parity")
    assert ran.exit_code == 1, ran.output
    found = by_gate(store, MODEL, wrong)
    quality = found[Gate.QUALITY]
    assert quality.outcome is Outcome.FAILED
    change = next(f for f in quality.figures if f.name == "intent_accuracy_change")
    assert change.high is not None
    assert change.high < -0.3
    assert "Worse than it may be on" in quality.reason
    assert "intent accuracy" in quality.reason
    assert "out of scope accuracy" not in quality.reason
    assert len(quality.examples) == 20
    for example in quality.examples:
        text, _, said = example.partition(": ")
        assert text.strip("'\"")
        assert "; live: " in said
        assert "; right: " in said
        assert example in ran.output
    with pytest.raises(StepRefused) as refused:
        gated_promotion(wrong, (Gate.QUALITY,), store.verdicts(MODEL, wrong))(
            rules.stage(store.read(MODEL)[0], wrong)
        )
    assert "quality failed: Worse than it may be" in refused.value.message
    assert quality.examples[0] in refused.value.message


def test_an_artifact_that_left_its_source_fails_parity(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    wrong = changed(repository, mostly_forgotten("embedding", 40), "encoder", ("onnx-int8",))
    ran = gate(models, repository, "encoder", wrong)
    assert ran.exit_code == 1, ran.output
    # Nothing is live, so that there is nothing else to measure.
    assert "no version of encoder is live: only parity can be measured" in ran.output
    (parity,) = store.verdicts("encoder", wrong)
    assert parity.outcome is Outcome.FAILED
    cosine = next(f for f in parity.figures if f.name == "mean_cosine")
    assert cosine.value is not None
    assert cosine.value < 0.6
    assert "embedding differs by" in parity.examples[0]


def test_a_slow_version_fails_latency_by_how_much(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    slow = changed(repository, slowed("intent_logits"))
    live = str(first(repository, MODEL))
    ran = gate(models, repository, MODEL, slow, "--against", live, "--only", "latency", *LATENCY)
    assert ran.exit_code == 1, ran.output
    (latency,) = store.verdicts(MODEL, slow)
    assert latency.outcome is Outcome.FAILED
    assert latency.environment["tritonserver"].startswith("2.")
    assert int(latency.environment["cores"]) >= 1
    figures = {figure.name: figure for figure in latency.figures}
    assert figures["p50_ratio"].low is not None
    assert figures["p50_ratio"].low > 2.0
    assert figures["p50"].value is not None
    assert figures["p50_of_live"].value is not None
    assert figures["p50"].value > figures["p50_of_live"].value
    assert "p50 " in latency.reason
    assert "times the live version's" in latency.reason


def test_a_version_that_triton_cannot_load_fails_latency_with_its_reason(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    def other_name(graph: Any) -> None:
        for value in graph.output:
            if value.name == "intent_logits":
                value.name = "intents"
        for node in graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "intents" if name == "intent_logits" else name

    broken = changed(repository, other_name)
    live = str(first(repository, MODEL))
    ran = gate(models, repository, MODEL, broken, "--against", live, "--only", "latency", *LATENCY)
    assert ran.exit_code == 1, ran.output
    (latency,) = store.verdicts(MODEL, broken)
    assert latency.outcome is Outcome.FAILED
    assert latency.reason.startswith("Triton cannot serve it: ")
    assert "intent_logits" in latency.reason


@pytest.mark.parametrize(
    ("model", "change", "figure"),
    [
        ("encoder", mostly_forgotten("embedding", 4), "mean_reciprocal_rank_change"),
        ("candidates", columns_reversed("item_indexes"), "hit_rate_10_change"),
        ("ranker", turned_round("score"), "ndcg_10_change"),
        ("decision", columns_reversed("action_probabilities"), "action_accuracy_change"),
    ],
    ids=["encoder", "candidates", "ranker", "decision"],
)
def test_every_model_is_told_from_a_damaged_one(
    models: BuiltModels,
    repository: Path,
    store: VersionStore,
    model: str,
    change: Change,
    figure: str,
) -> None:
    live = first(repository, model)
    # Its lists are what the ranker orders.
    for name in {model, "candidates"}:
        make_live(store, name, first(repository, name))
    again = publish_again(repository, model, live, 1).version
    wrong = changed(repository, change, model)
    ran = gate(models, repository, model, again, "--only", "parity,quality")
    assert ran.exit_code == 0, ran.output
    ran = gate(models, repository, model, wrong, "--only", "quality")
    assert ran.exit_code == 1, ran.output
    (quality,) = store.verdicts(model, wrong)
    assert quality.outcome is Outcome.FAILED
    fallen = next(f for f in quality.figures if f.name == figure)
    assert fallen.value is not None
    assert fallen.value < -0.02
    assert quality.examples


def test_a_corrupt_version_is_not_measured_at_all(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    again = publish_again(repository, "decision", first(repository, "decision"), 1).version
    path = repository / "decision" / str(again) / "model.onnx"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    with pytest.raises(StartupError, match=r"model\.onnx: corrupt"):
        gate(models, repository, "decision", again, "--only", "parity")
    assert store.verdicts("decision", again) == []


def test_a_version_that_learnt_from_other_data_cannot_pass_quality(
    models: BuiltModels, repository: Path, store: VersionStore
) -> None:
    live = first(repository, MODEL)
    make_live(store, MODEL, live)
    again = publish_again(repository, MODEL, live, 1).version
    folder = repository / MODEL / str(again)
    manifest = ModelRepository(repository).version(MODEL, again).manifest
    other = {"data_digest": "0" * 64, "data_name": "tickets of last year"}
    manifest.model_copy(update=other).write(folder)
    ran = gate(models, repository, MODEL, again, "--only", "quality")
    assert ran.exit_code == 1, ran.output
    (quality,) = store.verdicts(MODEL, again)
    assert quality.outcome is Outcome.UNDECIDED
    assert "It has learnt from other data ('tickets of last year')" in quality.reason
    assert "--data" in quality.reason

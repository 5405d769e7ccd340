"""Training and packaging in earnest, on small models and little data."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_build.artifacts import SERVED_FILE, SOURCE_FILE, ParityError, make_artifacts
from model_build.progress import Silent
from model_build.runtime import onnx_runner
from model_build.spec import ModelSpec, Tolerances
from model_build.specs import SPECS
from model_build.train.decision import DecisionSettings, train_decision
from model_build.train.decision_turns import simulate_turns, utilities
from model_build.train.encoder import EncoderModel
from model_build.train.minilm import (
    MiniLm,
    MiniLmConfig,
    load_pretrained,
    load_tokenizer,
    pretrained_folder,
)
from model_build.train.trained import TrainedModel
from serving.features import DecisionFeatures
from serving.models.repository import ModelRepository
from serving.types import Action
from tests.integration.conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

ESCALATE = tuple(Action).index(Action.ESCALATE)


@pytest.fixture(scope="module")
def decision() -> TrainedModel:
    return train_decision(
        DecisionSettings(turns=12_000, epochs=8), np.random.default_rng(4), Silent()
    )


def escalation(model: TrainedModel, name: str, values: list[float]) -> list[float]:
    """Mean P(escalate) over the same situations with one feature set to each value."""
    features = simulate_turns(800, np.random.default_rng(9)).features
    column = DecisionFeatures.names().index(name)
    means = []
    for value in values:
        features[:, column] = value
        with torch.inference_mode():
            probabilities, _ = model.module(torch.from_numpy(features))
        means.append(float(probabilities[:, ESCALATE].mean()))
    return means


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("negative_probability", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ("failures_in_a_row", [0.0, 1.0, 2.0, 3.0]),
        ("asks_for_human", [0.0, 1.0]),
    ],
)
def test_escalation_grows_with_what_speaks_for_it(
    decision: TrainedModel, name: str, values: list[float]
) -> None:
    means = escalation(decision, name, values)
    assert means == sorted(means)
    assert means[-1] > 2 * means[0]


def test_the_network_is_as_good_as_trees_and_near_what_can_be_known(
    decision: TrainedModel,
) -> None:
    model, others = decision.metrics, decision.baseline_metrics
    assert model["action_log_loss"] < others["boosted_trees.action_log_loss"] + 0.01
    assert model["action_log_loss"] < others["least_possible.action_log_loss"] + 0.05
    assert model["action_log_loss"] < others["action_log_loss"] / 3
    assert model["action_calibration_error"] < 0.03
    assert model["purchase_auc"] > 0.7


def test_the_simulated_best_action_is_the_sensible_one() -> None:
    def best(**known: float) -> Action:
        return tuple(Action)[int(np.argmax(utilities(DecisionFeatures(**known))))]

    sure = {"intent_confidence": 0.95, "log_turns": 0.7}
    assert best(**sure, group_order=1, answer_known=1) is Action.ANSWER
    assert best(**sure, group_order=1, slot_missing=1) is Action.CLARIFY
    assert best(**sure, group_product=1, items_found=1) is Action.RECOMMEND
    assert best(**sure, group_product=1, items_found=1, log_carts=2, log_views=3) is Action.OFFER
    assert best(**sure, group_smalltalk=1) is Action.NONE
    assert best(out_of_scope_probability=0.9, failures_in_a_row=1) is Action.CLARIFY
    angry = {"negative_probability": 0.95, "failures_in_a_row": 2.0}
    assert best(out_of_scope_probability=0.9, **angry) is Action.ESCALATE
    assert best(**sure, group_contact=1, asks_for_human=1) is Action.ESCALATE


def small_encoder(spec: ModelSpec = SPECS["encoder"]) -> TrainedModel:
    """The encoder with one layer of random weights."""
    torch.manual_seed(1)
    config = MiniLmConfig(num_hidden_layers=1, vocab_size=30000)
    rng = np.random.default_rng(2)
    return TrainedModel(
        spec=spec,
        module=EncoderModel(MiniLm(config)).eval(),
        samples=tuple(spec.sample_inputs(rng, size) for size in (1, 8)),
        assets={"tokenizer.json": b"{}"},
    )


def test_the_int8_artifact_is_served_and_its_source_kept(tmp_path: Path) -> None:
    made = make_artifacts(small_encoder(), tmp_path, "cpu")
    assert made.served == "onnx-int8"
    assert [(r.kind, r.path) for r in made.records] == [
        ("onnx-int8", SERVED_FILE),
        ("onnx", SOURCE_FILE),
        ("asset", "tokenizer.json"),
    ]
    assert all(record.passed for record in made.parity)
    served, source = tmp_path / SERVED_FILE, tmp_path / SOURCE_FILE
    assert served.stat().st_size < source.stat().st_size / 3
    # Free batch and free length, in both.
    for path in (served, source):
        run = onnx_runner(SPECS["encoder"], path)
        for size, length in ((1, 3), (5, 128)):
            ids = np.full((size, length), 2000)
            outputs = run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
            assert outputs["embedding"].shape == (size, 384)


def test_an_int8_artifact_that_is_too_far_off_is_replaced_visibly(tmp_path: Path) -> None:
    spec = SPECS["encoder"]
    strict = {**spec.tolerances, "onnx-int8": Tolerances(at_least={"lowest_cosine": 0.9999999})}
    made = make_artifacts(small_encoder(replace(spec, tolerances=strict)), tmp_path, "cpu")
    assert made.served == "onnx"
    assert [(r.kind, r.path) for r in made.records] == [
        ("onnx", SERVED_FILE),
        ("asset", "tokenizer.json"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [SERVED_FILE, "tokenizer.json"]
    assert [record.passed for record in made.parity] == [True, False]
    report = made.report()
    assert "FAILED" in report[1]
    assert report[-1] == "onnx is served instead"


def test_an_export_that_is_not_its_model_is_refused(tmp_path: Path) -> None:
    trained = small_encoder()
    strict = {"onnx": Tolerances(max_abs_difference={"embedding": 1e-12})}
    with pytest.raises(ParityError, match="encoder: onnx against pytorch: difference of embedding"):
        make_artifacts(
            replace(trained, spec=replace(trained.spec, tolerances=strict)), tmp_path, "cpu"
        )


def test_a_gpu_is_served_the_fp32_artifact(tmp_path: Path) -> None:
    made = make_artifacts(small_encoder(), tmp_path, "gpu")
    assert made.served == "onnx"
    assert not (tmp_path / SOURCE_FILE).exists()


def test_our_minilm_is_the_published_one() -> None:
    from transformers import AutoModel

    texts = ["where is my order 12345?", "a", "the quick brown fox jumps over the lazy dog " * 9]
    tokenizer = load_tokenizer(128)
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encodings])
    mask = torch.tensor([e.attention_mask for e in encodings])
    reference = AutoModel.from_pretrained(pretrained_folder()).eval()
    with torch.inference_mode():
        want = reference(input_ids=ids, attention_mask=mask).last_hidden_state
        got = load_pretrained().eval()(ids, mask)
    difference = (want - got).abs() * mask.unsqueeze(-1)
    assert float(difference.max()) < 1e-4


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_stopped_publishes_no_half(tmp_path: Path, how: signal.Signals) -> None:
    repository = tmp_path / "repo"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.cli.main", "models", "build", "--profile", "quick"),
            *("--repository", str(repository), "--shop", str(tmp_path / "shop")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ctrl-C is for the foreground: a process group of its own that does not ignore it.
        process_group=0,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "understanding: building\n"
        os.kill(process.pid, how)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "nothing half-made was published" in output
        assert "Traceback" not in output
    else:
        assert process.returncode == -signal.SIGKILL
    known = ModelRepository(repository)
    assert all(known.versions(model) == [] for model in SPECS)
    assert not (tmp_path / "shop").exists()

"""Checkpoints of `understanding`: what is written is read again, and what is unfit is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_build.checkpoint import build_key_in, digest_of
from model_build.train.checkpoint import read_checkpoint, write_checkpoint
from model_build.train.minilm import MiniLm, MiniLmConfig
from model_build.train.understanding_model import UnderstandingModel
from serving.errors import StartupError
from tests.checkpoints import copy_beyond_int8

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

CONFIG = MiniLmConfig(
    hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
)
IDS = torch.tensor([[101, 2073, 2003, 102], [101, 2026, 102, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture(scope="module")
def model() -> UnderstandingModel:
    torch.manual_seed(1)
    return UnderstandingModel(MiniLm(CONFIG, dropout=0.1), dropout=0.1).eval()


@pytest.fixture
def folder(model: UnderstandingModel, tmp_path: Path) -> Path:
    write_checkpoint(model, tmp_path / "checkpoint", "ab" * 32)
    return tmp_path / "checkpoint"


def outputs(model: UnderstandingModel) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        found: tuple[torch.Tensor, ...] = model(IDS, MASK)
    return found


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_what_is_written_answers_the_same(model: UnderstandingModel, folder: Path) -> None:
    again = read_checkpoint(folder)
    assert not again.training
    for want, got in zip(outputs(model), outputs(again), strict=True):
        assert torch.equal(want, got)
    assert build_key_in(folder) == "ab" * 32
    assert build_key_in(folder.parent / "none") is None
    assert not list(folder.parent.glob(".new-*"))


def test_transformers_reads_the_encoder_and_answers_the_same(
    model: UnderstandingModel, folder: Path
) -> None:
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    weights = load_file(folder / "model.safetensors")
    theirs = {n.removeprefix("bert."): w for n, w in weights.items() if n.startswith("bert.")}
    assert bert.load_state_dict(theirs, strict=False).missing_keys == []
    with torch.inference_mode():
        want = bert(input_ids=IDS, attention_mask=MASK).last_hidden_state
        got = model.encoder(IDS, MASK)
    assert float(((want - got).abs() * MASK.unsqueeze(-1)).max()) < 1e-5


def test_rows_follow_their_labels(model: UnderstandingModel, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in ("intent.weight", "intent.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors")
    edit(folder / "labels.json", lambda labels: {**labels, "intents": labels["intents"][::-1]})
    for want, got in zip(outputs(model), outputs(read_checkpoint(folder)), strict=True):
        assert torch.allclose(want, got, atol=1e-6)


def test_other_precision_is_read_as_float32(folder: Path) -> None:
    weights = {n: w.to(torch.bfloat16) for n, w in load_file(folder / "model.safetensors").items()}
    # BertModel has a pooler unless it is asked for none.
    weights["bert.pooler.dense.weight"] = torch.zeros(8, 8)
    save_file(weights, folder / "model.safetensors")
    assert {w.dtype for w in read_checkpoint(folder).state_dict().values()} == {torch.float32}


def without(name: str) -> Callable[[Any], Any]:
    return lambda values: {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("labels.json", without("intents"), "intents: must be a list of names"),
        (
            "labels.json",
            lambda labels: {**labels, "intents": ["dance", *labels["intents"][1:]]},
            "intents: lacks .* and has dance, which nobody serves",
        ),
        (
            "labels.json",
            lambda labels: {**labels, "sentiments": [*labels["sentiments"], "neutral"]},
            "sentiments: has a name twice",
        ),
        ("config.json", without("hidden_size"), "hidden_size: is missing"),
        ("config.json", lambda c: {**c, "hidden_act": "relu"}, "hidden_act: must be 'gelu', got"),
        ("config.json", lambda c: {**c, "vocab_size": 99}, "vocab_size: must be 30522, got 99"),
        (
            "config.json",
            lambda c: {**c, "intermediate_size": 32},
            r"bert\.encoder\.layer\.0\.intermediate\.dense\.weight has the shape \[16, 8\], \[32",
        ),
        ("tokenizer.json", lambda _: {}, "tokenizer.json: cannot be read"),
    ],
)
def test_what_is_unfit_is_named(
    folder: Path, file: str, change: Callable[[Any], Any], message: str
) -> None:
    edit(folder / file, change)
    with pytest.raises(StartupError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["intent.weight", "bert.embeddings.LayerNorm.bias"])
def test_a_weight_that_is_missing_is_named(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = weights.pop(name)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(StartupError, match=f"{name} is missing"):
        read_checkpoint(folder)
    save_file({**weights, name: kept, "adapter.weight": kept.clone()}, folder / "model.safetensors")
    with pytest.raises(StartupError, match=r"adapter\.weight is no weight of understanding"):
        read_checkpoint(folder)


def test_other_vocabularies_are_refused(folder: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["cartwright2000"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(StartupError, match="has another vocabulary than all-MiniLM-L6-v2"):
        read_checkpoint(folder)
    (folder / "tokenizer.json").unlink()
    read_checkpoint(folder)


def test_only_checkpoints_of_a_build_are_replaced(model: UnderstandingModel, folder: Path) -> None:
    before = digest_of(folder)
    write_checkpoint(model, folder, "cd" * 32)
    assert build_key_in(folder) == "cd" * 32
    assert digest_of(folder) != before
    mine = folder.parent / "mine"
    shutil.copytree(folder, mine)
    save_file(load_file(mine / "model.safetensors"), mine / "model.safetensors")
    with pytest.raises(StartupError, match="mine: is no checkpoint of a build"):
        write_checkpoint(model, mine, "cd" * 32)


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(StartupError, match=r"model\.safetensors: cannot be read"):
        digest_of(folder)
    with pytest.raises(StartupError, match=r"model\.safetensors: cannot be read"):
        read_checkpoint(folder)


def test_the_checkpoint_of_the_tests_answers_as_the_one_that_it_is_made_of(
    model: UnderstandingModel, folder: Path
) -> None:
    copy_beyond_int8(folder, folder.parent / "copy")
    for want, got in zip(
        outputs(model), outputs(read_checkpoint(folder.parent / "copy")), strict=True
    ):
        assert torch.allclose(want, got, atol=1e-6)

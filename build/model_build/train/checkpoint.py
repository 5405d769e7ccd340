"""Checkpoints of `understanding`, as transformers reads and writes them.

Whoever trains elsewhere needs a `BertPreTrainedModel` with the encoder as `bert` and four linear
layers `intent`, `slots`, `sentiment`, `out_of_scope`: its `save_pretrained` writes what is read
here.
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from model_build.checkpoint import (
    CONFIG_FILE,
    KEY_ENTRY,
    LABELS,
    LABELS_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    build_key_in,
    rows_of_labels,
)
from model_build.train.minilm import MiniLm, MiniLmConfig, pretrained_folder, weight_names
from model_build.train.understanding_model import UnderstandingModel
from serving.errors import StartupError

# Head -> the labels that its rows stand for.
_HEADS = {"intent": "intents", "slots": "slot_tags", "sentiment": "sentiments"}
# Of BertModel, and of no use here.
_UNUSED = ("bert.pooler.", "bert.embeddings.position_ids")
_SUPPORTED = {"model_type": "bert", "hidden_act": "gelu"}


def write_checkpoint(model: UnderstandingModel, folder: Path, build_key: str) -> None:
    """Writes a checkpoint, whole or not at all; one that a build has left there is replaced.

    Raises:
        StartupError: there is something else in its place, or it cannot be written.
    """
    build_key_in(folder)
    config = model.encoder.config
    names = _names(config)
    weights = {names[ours]: weight.contiguous() for ours, weight in model.state_dict().items()}
    labels = {kind: list(labels) for kind, labels in LABELS.items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            draft.mkdir()
            metadata = {"format": "pt", KEY_ENTRY: build_key}
            save_file(weights, draft / WEIGHTS_FILE, metadata=metadata)
            # The library keeps it for its owner alone.
            (draft / WEIGHTS_FILE).chmod(0o644)
            _write(draft / CONFIG_FILE, {**_SUPPORTED, **asdict(config)})
            _write(draft / LABELS_FILE, labels)
            # For whoever goes on training; publishing takes the vocabulary as given.
            shutil.copyfile(pretrained_folder() / TOKENIZER_FILE, draft / TOKENIZER_FILE)
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
    except OSError as error:
        where = error.filename or folder
        raise StartupError(f"{where}: cannot be written: {error.strerror}") from error


def read_checkpoint(folder: Path) -> UnderstandingModel:
    """The model in evaluation mode, float32, its rows in the order of serving.

    Raises:
        StartupError: a file is missing or unfit; names it and the field, tensor or label.
    """
    rows = rows_of_labels(folder)
    _check_vocabulary(folder / TOKENIZER_FILE)
    with torch.device("meta"):
        model = UnderstandingModel(MiniLm(_config(folder)))
    names = _names(model.encoder.config)
    path = folder / WEIGHTS_FILE
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StartupError(f"{path}: cannot be read: {error}") from error
    unknown = [n for n in stored if n not in names.values() and not n.startswith(_UNUSED)]
    if unknown:
        raise StartupError(f"{path}: {unknown[0]} is no weight of understanding")
    weights: dict[str, Tensor] = {}
    for ours, shape in ((name, weight.shape) for name, weight in model.state_dict().items()):
        theirs = names[ours]
        if theirs not in stored:
            raise StartupError(f"{path}: {theirs} is missing")
        if stored[theirs].shape != shape:
            found, wanted = list(stored[theirs].shape), list(shape)
            raise StartupError(f"{path}: {theirs} has the shape {found}, {wanted} is needed")
        weight = stored[theirs].to(torch.float32)
        head = ours.partition(".")[0]
        weights[ours] = weight[rows[_HEADS[head]]] if head in _HEADS else weight
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _config(folder: Path) -> MiniLmConfig:
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = MiniLmConfig.read(folder)
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise StartupError(f"{path}: {error.args[0]}: is missing") from error
    except (ValueError, TypeError) as error:
        raise StartupError(f"{path}: is no configuration: {error}") from error
    vocabulary = MiniLmConfig().vocab_size
    for name, wanted in {**_SUPPORTED, "vocab_size": vocabulary}.items():
        if values.get(name) != wanted:
            raise StartupError(f"{path}: {name}: must be {wanted!r}, got {values.get(name)!r}")
    return config


def _check_vocabulary(path: Path) -> None:
    """A checkpoint need not have a tokenizer, but serving has this one vocabulary."""
    if not path.exists():
        return
    try:
        vocabulary = Tokenizer.from_file(str(path)).get_vocab()
    # The library raises this class and nothing more particular.
    except Exception as error:
        raise StartupError(f"{path}: cannot be read: {error}") from error
    if vocabulary != Tokenizer.from_file(str(pretrained_folder() / TOKENIZER_FILE)).get_vocab():
        raise StartupError(f"{path}: has another vocabulary than all-MiniLM-L6-v2")


def _names(config: MiniLmConfig) -> dict[str, str]:
    """Names of our parameters -> names in the file."""
    encoder = {f"encoder.{ours}": f"bert.{theirs}" for ours, theirs in weight_names(config).items()}
    heads = (*_HEADS, "out_of_scope")
    return encoder | {f"{h}.{kind}": f"{h}.{kind}" for h in heads for kind in ("weight", "bias")}


def _write(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

"""A checkpoint: weights of a model that somebody trained, in a folder. Needs no PyTorch.

| file | content |
|---|---|
| `model.safetensors` | the weights, by the names that transformers gives them |
| `config.json` | sizes of the encoder, as transformers writes them |
| `labels.json` | what the rows of the heads mean, in their order |
| `tokenizer.json` | may be there; its vocabulary is that of all-MiniLM-L6-v2 |
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import StartupError
from serving.models.manifest import sha256_of
from serving.types import Sentiment

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LABELS_FILE = "labels.json"
TOKENIZER_FILE = "tokenizer.json"
# What the heads of `understanding` tell apart, in the order of serving.
LABELS: Mapping[str, tuple[str, ...]] = {
    "intents": INTENT_NAMES,
    "slot_tags": SLOT_TAGS,
    "sentiments": tuple(sentiment.value for sentiment in Sentiment),
}
# In the configuration of a version that was published from a checkpoint: its digest.
CHECKPOINT_ENTRY = "checkpoint"
# In the metadata of the weights: the build that they come from.
KEY_ENTRY = "build_key"


def digest_of(folder: Path) -> str:
    """SHA-256 over the files of a checkpoint, 64 hex digits.

    Raises:
        StartupError: one is missing; names it.
    """
    hasher = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG_FILE, LABELS_FILE):
        path = folder / name
        try:
            hasher.update(f"{name} {sha256_of(path)}\n".encode())
        except OSError as error:
            raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
    return hasher.hexdigest()


def build_key_in(folder: Path) -> str | None:
    """The build that left a checkpoint there; None if there is no such folder.

    Raises:
        StartupError: there is something else, which must not be replaced.
    """
    if not folder.exists():
        return None
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="numpy") as stored:
            key: str | None = (stored.metadata() or {}).get(KEY_ENTRY)
    except (OSError, SafetensorError):
        key = None
    if key is None:
        raise StartupError(f"{folder}: is no checkpoint of a build, and is not replaced by one")
    return key


def rows_of_labels(folder: Path) -> dict[str, list[int]]:
    """For each kind of label, in the order of serving: its row in the checkpoint.

    Raises:
        StartupError: `labels.json` is missing, or has other labels than serving; names them.
    """
    path = folder / LABELS_FILE
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StartupError(f"{path}: is not JSON: {error}") from error
    rows = {}
    for kind, wanted in LABELS.items():
        given = labels.get(kind) if isinstance(labels, dict) else None
        if not isinstance(given, list) or sorted(map(str, given)) != sorted(wanted):
            raise StartupError(f"{path}: {kind}: {_difference(given, wanted)}")
        rows[kind] = [given.index(name) for name in wanted]
    return rows


def _difference(given: object, wanted: tuple[str, ...]) -> str:
    if not isinstance(given, list):
        return "must be a list of names"
    names = [str(name) for name in given]
    missing = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in wanted]
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(unknown)}, which nobody serves"] if unknown else []
        return " and ".join(parts)
    return "has a name twice"

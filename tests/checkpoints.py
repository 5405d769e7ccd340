"""Checkpoints for tests."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from model_build.checkpoint import WEIGHTS_FILE

# A power of two: float32 loses nothing by it.
_STRETCH = 2.0**8


def copy_beyond_int8(source: Path, target: Path) -> None:
    """Copies a checkpoint so that int8 cannot hold it, and float32 answers as before.

    One value of each attention is so large that eight bits for all of them leave nothing of the
    others. Quick models are so unsure that it would be luck whether their int8 passes.
    """
    shutil.copytree(source, target)
    weights = load_file(source / WEIGHTS_FILE)
    layer = 0
    while f"bert.encoder.layer.{layer}.attention.self.value.weight" in weights:
        attention = f"bert.encoder.layer.{layer}.attention"
        for kind in ("weight", "bias"):
            weights[f"{attention}.self.value.{kind}"][0] *= _STRETCH
        weights[f"{attention}.output.dense.weight"][:, 0] /= _STRETCH
        layer += 1
    save_file(weights, target / WEIGHTS_FILE, metadata={"format": "pt"})

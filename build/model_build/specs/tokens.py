"""Inputs that the two language models share: token ids and the mask of real tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.models.manifest import TensorSpec

TOKEN_INPUTS = (
    TensorSpec(name="input_ids", dtype="INT64", dims=(-1,)),
    TensorSpec(name="attention_mask", dtype="INT64", dims=(-1,)),
)
# Word pieces of the vocabulary that are whole common words; below lie unused and special ones.
_FIRST_WORD_PIECE = 1996
_LAST_WORD_PIECE = 29000
_CLS, _SEP = 101, 102


def sample_tokens(rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
    """A batch of random token rows, padded on the right: int64 [size, 24] each."""
    length = 24
    lengths = rng.integers(3, length + 1, size)
    positions = np.arange(length)
    mask = (positions[None, :] < lengths[:, None]).astype(np.int64)
    ids = rng.integers(_FIRST_WORD_PIECE, _LAST_WORD_PIECE, (size, length)) * mask
    ids[:, 0] = _CLS
    ids[np.arange(size), lengths - 1] = _SEP
    return {"input_ids": ids.astype(np.int64), "attention_mask": mask}

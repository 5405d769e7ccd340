"""`encoder`: MiniLM as it is, with mean pooling and normalisation in the graph. Not trained here.

The pretrained weights are those of all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020).
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from model_build.specs.encoder import SPEC
from model_build.train.minilm import MiniLm, load_pretrained, mean_pool, pretrained_folder
from model_build.train.trained import TrainedModel
from serving.models.tokenizer import Tokenizer

_PARITY_SAMPLES = 256
_BATCH = 16


class EncoderModel(nn.Module):
    """Token ids to a vector of unit length."""

    def __init__(self, encoder: MiniLm) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [n, l] twice -> float32 [n, 384]."""
        pooled = mean_pool(self.encoder(input_ids, attention_mask), attention_mask)
        return nn.functional.normalize(pooled, dim=-1)


def pretrained_encoder(texts: Sequence[str], rng: np.random.Generator) -> TrainedModel:
    """The encoder with parity samples drawn from `texts` (questions and articles)."""
    tokenizer_file = pretrained_folder() / "tokenizer.json"
    tokenizer = Tokenizer.from_file(tokenizer_file, SPEC.config["max_length"])
    chosen = [texts[i] for i in rng.permutation(len(texts))[:_PARITY_SAMPLES]]
    # Similar lengths together, so that little is padding.
    chosen.sort(key=len)
    samples = tuple(
        dict(tokenizer.encode(chosen[start : start + _BATCH]).inputs())
        for start in range(0, len(chosen), _BATCH)
    )
    return TrainedModel(
        spec=SPEC,
        module=EncoderModel(load_pretrained()).eval(),
        samples=samples,
        assets={"tokenizer.json": tokenizer_file.read_bytes()},
    )

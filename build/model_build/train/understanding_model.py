"""`understanding` as a PyTorch module: MiniLM with four heads in one pass."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_build.train.minilm import MiniLm, mean_pool
from model_build.train.understanding_metrics import Predictions
from model_build.train.utterances import EncodedUtterance, batches_by_length
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.types import Sentiment


class UnderstandingModel(nn.Module):
    """The encoder and the four heads, in the order of the spec's outputs."""

    def __init__(self, encoder: MiniLm, dropout: float = 0.0) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.intent = nn.Linear(width, len(INTENT_NAMES))
        self.slots = nn.Linear(width, len(SLOT_TAGS))
        self.sentiment = nn.Linear(width, len(Sentiment))
        self.out_of_scope = nn.Linear(width, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """int64 [n, l] twice -> logits [n, i], [n, l, t], [n, 3], [n, 1]."""
        return self.heads(self.encoder(input_ids, attention_mask), attention_mask)

    def heads(self, hidden: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Logits from the encoder's last layer [n, l, 384]."""
        hidden = self.dropout(hidden)
        pooled = mean_pool(hidden, attention_mask)
        return (
            self.intent(pooled),
            self.slots(hidden),
            self.sentiment(pooled),
            self.out_of_scope(pooled),
        )


def predict(model: UnderstandingModel, encoded: Sequence[EncodedUtterance]) -> Predictions:
    """Runs the model over utterances; the predictions are in their order."""
    count = len(encoded)
    intent = np.zeros((count, len(INTENT_NAMES)), np.float32)
    sentiment = np.zeros((count, len(Sentiment)), np.float32)
    out_of_scope = np.zeros(count, np.float32)
    slots: list[NDArray[np.float32]] = [np.zeros((0, len(SLOT_TAGS)), np.float32)] * count
    with torch.inference_mode():
        for batch in batches_by_length(encoded, 32):
            rows = list(batch.rows)
            outputs = [o.numpy() for o in model(batch.input_ids, batch.attention_mask)]
            intent[rows], sentiment[rows], out_of_scope[rows] = (
                outputs[0],
                outputs[2],
                outputs[3][:, 0],
            )
            for i, row in enumerate(rows):
                slots[row] = outputs[1][i, : len(encoded[row].input_ids)]
    return Predictions(
        encoded=tuple(encoded),
        intent_logits=intent,
        slot_logits=tuple(slots),
        sentiment_logits=sentiment,
        out_of_scope_logits=out_of_scope,
    )

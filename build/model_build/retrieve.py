"""Runs published artifacts offline, for what is made with them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_build.artifacts import SERVED_FILE
from model_build.runtime import onnx_runner
from model_build.specs.candidates import SPEC as CANDIDATES
from model_build.specs.encoder import SPEC as ENCODER
from model_build.train.histories import encode_history, item_indexes
from model_build.train.ranker import Retrieve
from serving.models.repository import PublishedVersion
from serving.models.tokenizer import Tokenizer
from serving.steps.encode import article_text
from serving.types import Article

Floats = NDArray[np.float32]


def retriever(version_folder: Path) -> Retrieve:
    """The candidates of many histories by the published candidates model."""
    product_ids: list[str] = PublishedVersion(version_folder).json_asset("products.json")
    index = item_indexes(product_ids)
    run = onnx_runner(CANDIDATES, version_folder / SERVED_FILE)

    def retrieve(histories: Sequence[Sequence[str]]) -> list[tuple[list[str], Floats]]:
        found = []
        for history in histories:
            outputs = run({"history": encode_history(history, index)[None, :]})
            items = [product_ids[i - 1] for i in outputs["item_indexes"][0].tolist()]
            found.append((items, outputs["scores"][0]))
        return found

    return retrieve


def embed_articles(version_folder: Path, articles: Sequence[Article]) -> Floats:
    """Vectors of the articles by the published encoder, float32 [n, 384].

    One at a time: an int8 model scales its activations by what is in the batch, and so each vector
    depends on its article alone.
    """
    tokenizer = Tokenizer.from_file(
        PublishedVersion(version_folder).asset_path("tokenizer.json"), ENCODER.config["max_length"]
    )
    run = onnx_runner(ENCODER, version_folder / SERVED_FILE)
    vectors = [
        run(tokenizer.encode([article_text(article)]).inputs())["embedding"] for article in articles
    ]
    return np.concatenate(vectors).astype(np.float32)

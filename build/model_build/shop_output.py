"""Writes the shop for serving, as it stood when the held-out part of its history began.

Beside it lies `held_out.jsonl`, which is not imported: utterances (some of every intent) and
purchases that no model has learnt from, for conversations with the built stack. Each line is one of

    {"kind": "utterance", "text": ..., "intent": ... or null, "out_of_scope": true or false}
    {"kind": "purchase", "customer_id": ..., "history": [product ids], "bought": [product ids]}
"""

import json
from collections.abc import Iterator
from pathlib import Path

from model_build.data.types import LabelledUtterance
from model_build.materials import Materials, sample
from serving.errors import StartupError
from serving.stores.shop_files import write_shop
from serving.stores.shop_format import MANIFEST_FILE, ShopManifest

HELD_OUT_FILE = "held_out.jsonl"
BUILD_FILE = "build.json"
_PER_INTENT = 15
_PURCHASES = 200


def is_written(folder: Path, build_key: str, encoder: str) -> bool:
    """Whether the shop of this build, with vectors of this encoder, lies there."""
    try:
        manifest = ShopManifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        build = json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        manifest.encoder == encoder
        and build == {"build_key": build_key}
        and all((folder / name).is_file() for name in manifest.files)
    )


def write(
    folder: Path, materials: Materials, build_key: str, encoder: str, encoder_folder: Path
) -> ShopManifest:
    """Embeds the articles and writes the shop, whole or not at all.

    Raises:
        StartupError: the folder cannot be written; names it and the reason.
    """
    from model_build.retrieve import embed_articles

    shop = materials.shop
    vectors = embed_articles(encoder_folder, shop.articles)
    try:
        return write_shop(
            folder,
            name=shop.name,
            products=shop.products,
            articles=shop.articles,
            customer_ids=shop.customer_ids,
            interactions=materials.timeline.past,
            orders=shop.orders,
            article_vectors=vectors,
            encoder=encoder,
            extra_files={
                HELD_OUT_FILE: "".join(f"{line}\n" for line in _held_out(materials)),
                BUILD_FILE: json.dumps({"build_key": build_key}) + "\n",
            },
        )
    except OSError as error:
        where = error.filename or folder
        raise StartupError(f"{where}: cannot be written: {error.strerror or error}") from error


def _held_out(materials: Materials) -> Iterator[str]:
    from model_build.train.histories import next_purchases

    rng = materials.rng("held_out")
    judged = next(iter(materials.held_out_utterances.values()))
    by_intent: dict[str, list[LabelledUtterance]] = {}
    for utterance in judged:
        by_intent.setdefault(utterance.intent or "", []).append(utterance)
    # Some of every intent: whoever reads them can count on finding each.
    chosen = (
        u for intent in sorted(by_intent) for u in sample(by_intent[intent], _PER_INTENT, rng)
    )
    for utterance in chosen:
        yield _line(
            kind="utterance",
            text=utterance.text,
            intent=utterance.intent,
            out_of_scope=bool(utterance.out_of_scope),
        )
    purchases = next_purchases(materials.timeline.past, materials.timeline.held_out)
    for i in rng.permutation(len(purchases))[:_PURCHASES]:
        yield _line(
            kind="purchase",
            customer_id=purchases[i].customer_id,
            history=purchases[i].history,
            bought=purchases[i].bought,
        )


def _line(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False)

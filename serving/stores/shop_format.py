"""The files of a shop on disk: one domain object a line of JSON, and `shop.json` over them all.

shop.json              name, digest, encoder, and the SHA-256 of every other file
products.jsonl         `serving.types.Product`
articles.jsonl         `serving.types.Article`; `updated_at_ms` is not written, stores set it
article_vectors.npy    float32 [n, d], row i belongs to line i of articles.jsonl
customers.jsonl        {"customer_id": ...}
interactions.jsonl.gz  `Interaction`, in time order
orders.jsonl           `serving.types.Order`
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from serving.types import Article, EventKind, Order, Product

FORMAT = 1
MANIFEST_FILE = "shop.json"
PRODUCTS_FILE = "products.jsonl"
ARTICLES_FILE = "articles.jsonl"
VECTORS_FILE = "article_vectors.npy"
CUSTOMERS_FILE = "customers.jsonl"
INTERACTIONS_FILE = "interactions.jsonl.gz"
ORDERS_FILE = "orders.jsonl"
# What an import reads, and what the shop's digest covers.
IMPORTED_FILES = (
    PRODUCTS_FILE,
    ARTICLES_FILE,
    VECTORS_FILE,
    CUSTOMERS_FILE,
    INTERACTIONS_FILE,
    ORDERS_FILE,
)

# A shop's name becomes a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS = frozenset(kind.value for kind in EventKind)


class Interaction(Protocol):
    """What a customer once did with a product; time in Unix milliseconds."""

    @property
    def customer_id(self) -> str:
        """Who."""
        ...

    @property
    def product_id(self) -> str:
        """With what."""
        ...

    @property
    def kind(self) -> str:
        """A value of `serving.types.EventKind`."""
        ...

    @property
    def occurred_at_ms(self) -> int:
        """When."""
        ...

    @property
    def basket_id(self) -> str:
        """Shared by the interactions of one visit or invoice."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImportedInteraction:
    """An interaction as read back; the basket is of no use when serving."""

    customer_id: str
    product_id: str
    kind: str
    occurred_at_ms: int


@dataclass(frozen=True, kw_only=True)
class ShopManifest:
    """Content of `shop.json`."""

    name: str
    # SHA-256 over the name, the encoder and the imported files.
    digest: str
    # Model and version that made the article vectors, e.g. "encoder/3".
    encoder: str
    # SHA-256 in hex of every other file, by name.
    files: Mapping[str, str]

    def to_json(self) -> str:
        """The text of `shop.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ShopManifest":
        """Reads `shop.json`.

        Raises:
            ValueError: not such a file; says what is wrong.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"is not a shop of format {FORMAT}")
        files = data.get("files")
        if not isinstance(files, dict) or not set(IMPORTED_FILES) <= files.keys():
            raise ValueError(f"files: must name {', '.join(IMPORTED_FILES)}")
        for field in ("name", "digest", "encoder"):
            if not isinstance(data.get(field), str) or not data[field]:
                raise ValueError(f"{field}: must be a text that is not empty")
        check_name(data["name"])
        return cls(
            name=data["name"], digest=data["digest"], encoder=data["encoder"], files=dict(files)
        )


def check_name(name: str) -> None:
    """Refuses what cannot be a shop's name.

    Raises:
        ValueError: anything but 1 to 64 letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "name: must be 1 to 64 letters, digits, dots, dashes or underscores and begin with "
            f"a letter or digit, got {name[:80]!r}"
        )


def shop_digest(name: str, encoder: str, files: Mapping[str, str]) -> str:
    """SHA-256 in hex of everything that an import would bring in."""
    parts = [name, encoder, *(f"{file}={files[file]}" for file in IMPORTED_FILES)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def product_lines(products: Iterable[Product]) -> Iterator[str]:
    """One line a product."""
    return (_line(asdict(product)) for product in products)


def article_lines(articles: Iterable[Article]) -> Iterator[str]:
    """One line an article, without the time of its last change."""
    for article in articles:
        fields = asdict(article)
        del fields["updated_at_ms"]
        yield _line(fields)


def customer_lines(customer_ids: Iterable[str]) -> Iterator[str]:
    """One line a customer."""
    return (_line({"customer_id": customer_id}) for customer_id in customer_ids)


def interaction_lines(interactions: Iterable[Interaction]) -> Iterator[str]:
    """One line an interaction.

    Raises:
        ValueError: a kind that there is not.
    """
    for interaction in interactions:
        if interaction.kind not in _KINDS:
            raise ValueError(f"interactions: unknown kind {interaction.kind!r}")
        yield _line(
            {
                "customer_id": interaction.customer_id,
                "product_id": interaction.product_id,
                "kind": interaction.kind,
                "occurred_at_ms": interaction.occurred_at_ms,
                "basket_id": interaction.basket_id,
            }
        )


def order_lines(orders: Iterable[Order]) -> Iterator[str]:
    """One line an order."""
    return (_line(asdict(order)) for order in orders)


def product_from(data: dict[str, Any]) -> Product:
    """A product from its line."""
    data["colours"] = tuple(data.get("colours", ()))
    data["sizes"] = tuple(data.get("sizes", ()))
    return Product(**data)


def article_from(data: dict[str, Any]) -> Article:
    """An article from its line."""
    return Article(**data)


def customer_from(data: dict[str, Any]) -> str:
    """A customer's id from its line."""
    return str(data["customer_id"])


def interaction_from(data: dict[str, Any]) -> ImportedInteraction:
    """An interaction from its line."""
    if data["kind"] not in _KINDS:
        raise ValueError(f"kind: unknown value {data['kind']!r}")
    return ImportedInteraction(
        customer_id=data["customer_id"],
        product_id=data["product_id"],
        kind=data["kind"],
        occurred_at_ms=data["occurred_at_ms"],
    )


def order_from(data: dict[str, Any]) -> Order:
    """An order from its line."""
    data["product_ids"] = tuple(data["product_ids"])
    return Order(**data)


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)

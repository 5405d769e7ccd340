"""The knowledge base of the synthetic shop: `knowledge/*.toml` -> articles.

Each entry has a topic (an intent's name), a title and a body; names in braces are filled from the
shop's policy, so that every article tells the same days, fees and limits. An entry with `each`
becomes one article for every row of that table in `knowledge/tables.toml`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from model_build.data.policy import SHOP_POLICY
from model_build.data.tables import TableError, read_table
from serving.types import Article

_FILES = ("order", "payment", "delivery", "account", "product", "parametrised")
_ROWS = "knowledge/tables.toml"
_FIRST_UPDATE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_HOUR_MS = 3_600_000


def make_articles() -> tuple[Article, ...]:
    """All articles in id order. They depend on no seed: a shop's rules are written by people.

    Raises:
        TableError: an entry lacks a field, names an unknown value, or repeats a title of its topic.
    """
    articles: dict[str, Article] = {}
    first_ms = int(_FIRST_UPDATE.timestamp() * 1000)
    for name in _FILES:
        file = f"knowledge/{name}.toml"
        for topic, entries in read_table(file).items():
            for entry in entries:
                for title, body in _written_out(file, topic, entry):
                    article_id = f"{topic.replace('_', '-')}-{_slug(title)}"
                    if article_id in articles:
                        raise TableError(f"{file}: {topic}: {title!r} stands there twice")
                    articles[article_id] = Article(
                        article_id=article_id,
                        title=title,
                        body=body,
                        topic=topic,
                        updated_at_ms=first_ms + len(articles) * 20 * _HOUR_MS,
                    )
    return tuple(articles[article_id] for article_id in sorted(articles))


def _written_out(file: str, topic: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and body of each article that the entry stands for."""
    try:
        rows = read_table(_ROWS)[entry["each"]] if "each" in entry else [{}]
        policy = SHOP_POLICY.texts()
        for row in rows:
            values = policy | {name: text.format_map(policy) for name, text in row.items()}
            title = str(entry["title"]).format_map(values)
            # Line breaks of the file mean nothing; a row's text may begin a sentence.
            body = " ".join(str(entry["body"]).format_map(values).split())
            yield title, re.sub(r"(?<=\. )[a-z]", lambda letter: letter.group().upper(), body)
    except KeyError as error:
        where = entry.get("title", "(no title)")
        raise TableError(f"{file}: {topic}: {where}: nothing known as {error}") from error


def _slug(title: str) -> str:
    """The title as lower-case words joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))

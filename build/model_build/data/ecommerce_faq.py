"""The questions and answers of the e-commerce FAQ data set as knowledge articles."""

import json
from pathlib import Path
from typing import Any

from model_build.data.csv_rows import DataError
from serving.types import Article

FILE = "ecommerce_faq/Ecommerce_FAQ_Chatbot_dataset.json"
TOPIC = "faq"


def load_faq(folder: Path) -> tuple[Article, ...]:
    """Articles "faq-001" and so on; none if the file is not there.

    Raises:
        DataError: the file cannot be read, or an entry lacks a question or an answer.
    """
    path = folder / FILE
    if not path.exists():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    entries = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path}: questions: a list of entries is missing")
    return tuple(
        Article(
            article_id=f"faq-{number:03d}",
            title=_text(path, number, entry, "question"),
            body=_text(path, number, entry, "answer"),
            topic=TOPIC,
        )
        for number, entry in enumerate(entries, start=1)
    )


def _text(path: Path, number: int, entry: Any, field: str) -> str:
    text = entry.get(field) if isinstance(entry, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{path}, entry {number}, {field}: a text is missing")
    return text.strip()

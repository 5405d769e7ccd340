"""Puts a run's tables into a Markdown document, between two markers."""

from pathlib import Path

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"


class UnusableDocument(Exception):
    """The document cannot take the tables; says why."""


def write_block(path: Path, block: str) -> None:
    """Replaces what stands between the markers; a document without them gets them at its end.

    Raises:
        UnusableDocument: it cannot be read or written, or has one marker without the other.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(with_block(text, block, str(path)), encoding="utf-8")
    except OSError as error:
        raise UnusableDocument(f"{path}: {error.strerror}") from error


def with_block(text: str, block: str, name: str) -> str:
    """The text with the block between the markers.

    Raises:
        UnusableDocument: the markers are not there once each, in order; names the document.
    """
    marked = f"{BEGIN}\n\n{block.strip()}\n\n{END}"
    counts = (text.count(BEGIN), text.count(END))
    if counts == (0, 0):
        return (f"{text.rstrip()}\n\n" if text.strip() else "") + marked + "\n"
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if counts != (1, 1) or not found:
        raise UnusableDocument(f"{name}: needs {BEGIN} and {END} once each, in this order")
    return before + marked + after

"""Statements over whole sets of rows.

Python's sqlite3 gives the interpreter's lock away with every step of a statement, and in a thread
beside a busy event loop each taking back costs up to 5 ms. So long work sends all its rows in with
one statement and fetches one row (with a JSON text in it) out.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Value = str | int | float | bytes | None

# SQLite's own limit of parameters a statement, as it is compiled by default, is 32,766.
_MOST_PARAMETERS = 30_000


def chunks(rows: Sequence[T], columns: int) -> Iterator[Sequence[T]]:
    """Cuts rows of so many columns into parts that fit into one statement each."""
    size = _MOST_PARAMETERS // columns
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def values_of(rows: Sequence[Sequence[Value]]) -> tuple[str, list[Value]]:
    """`VALUES (?, ?), (?, ?)` for the rows, of which there is at least one, and the parameters."""
    row = "(" + ", ".join("?" * len(rows[0])) + ")"
    return "VALUES " + ", ".join([row] * len(rows)), [value for row in rows for value in row]


def list_of(count: int) -> str:
    """`(?, ?, ?)` for the right side of IN."""
    return "(" + ", ".join("?" * count) + ")"

"""Statements over whole sets of rows.

A batch is written in a thread, with the file locked against every other writer. There every
statement may have to wait for the interpreter's lock, so few large statements hold the file for a
shorter time than many small ones; they also take half the CPU time.
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

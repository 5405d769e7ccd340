"""Reads gzipped CSV files; whatever is wrong with one is named by file, line and column."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path


class DataError(ValueError):
    """A data file cannot be used; the text names the file, and line and column if it can."""

    @classmethod
    def at(cls, path: Path, line: int, column: str, reason: str) -> "DataError":
        """An error about one cell."""
        return cls(f"{path}, line {line}, column {column}: {reason}")


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every data row; a row that spans lines has the last one's number.

    Args:
        path: the file, gzipped UTF-8 with a header.
        columns: what the header must be.

    Raises:
        DataError: the file is missing, is not such a file, has another header, or a row has more
            or fewer cells.
    """
    line = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if line == 1:
                    _check_header(path, row, columns)
                    continue
                if len(row) != len(columns):
                    missing = columns[len(row)] if len(row) < len(columns) else columns[-1]
                    raise DataError.at(
                        path, line, missing, f"{len(row)} cells in the row, not {len(columns)}"
                    )
                yield line, row
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}, after line {line}: cannot be read: {error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}, after line {line}: {error}") from error
    if line == 0:
        raise DataError(f"{path}, line 1: the file is empty")


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    for position, column in enumerate(columns):
        found = header[position] if position < len(header) else "nothing"
        if found != column:
            raise DataError.at(path, 1, column, f"the header has {found!r} in its place")
    if len(header) > len(columns):
        raise DataError.at(path, 1, header[len(columns)], "an unknown column")

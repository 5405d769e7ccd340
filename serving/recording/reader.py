"""Reads a recording: all segments of a folder, those that were cut short or damaged included."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from serving.errors import StartupError
from serving.recording.records import Record
from serving.recording.segments import GZIP_WBITS, Segment, segments_in

_READ_BYTES = 64 * 1024
# Of what a damaged place makes unreadable, no more than so much that stands before it is lost.
_STEP_BYTES = 4096


class Recording:
    """The records in a folder, while others may go on writing there."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self.folder = folder
        # What could not be read so far, a sentence each. A segment without an end is none: it is
        # being written, or its writer was killed.
        self.problems: list[str] = []

    def records(
        self, *, model: str | None = None, since_ms: int | None = None, until_ms: int | None = None
    ) -> Iterator[Record]:
        """Records in the order of the segments' starts; within one, as they were written.

        Args:
            model: only of this one.
            since_ms: only those that arrived then or later; Unix time in milliseconds.
            until_ms: only those that arrived before.

        Raises:
            StartupError: the folder cannot be read.
        """
        try:
            segments = segments_in(self.folder)
        except OSError as error:
            raise StartupError(f"{self.folder}: cannot be read: {error.strerror}") from error
        for segment in segments:
            # A record is written after its request arrived.
            if since_ms is not None and segment.changed_at_ms < since_ms:
                continue
            for record in self._read(segment):
                if (
                    (model is None or record.model == model)
                    and (since_ms is None or record.arrived_at_ms >= since_ms)
                    and (until_ms is None or record.arrived_at_ms < until_ms)
                ):
                    yield record

    def _read(self, segment: Segment) -> Iterator[Record]:
        for number, line in enumerate(self._lines(segment.path), start=1):
            try:
                yield Record.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_input=False)[0]
                field = ".".join(str(part) for part in first["loc"]) or "(line)"
                self.problems.append(f"{segment.path}, line {number}: {field}: {first['msg']}")

    def _lines(self, path: Path) -> Iterator[bytes]:
        rest = b""
        try:
            for piece in _inflated(path):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        except FileNotFoundError:
            # The oldest segment was deleted to make room.
            return
        except (OSError, zlib.error) as error:
            self.problems.append(f"{path}: cannot be read further: {error}")


def _inflated(path: Path) -> Iterator[bytes]:
    """What a segment holds, as far as it goes.

    Raises:
        OSError: the file cannot be read.
        zlib.error: it is damaged from here on.
    """
    inflate = zlib.decompressobj(GZIP_WBITS)
    with path.open("rb") as file:
        while compressed := file.read(_READ_BYTES):
            while compressed:
                yield inflate.decompress(compressed, _STEP_BYTES)
                compressed = inflate.unconsumed_tail
    yield inflate.flush()

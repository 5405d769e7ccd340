"""Which versions answered requests of late: for many requests at once, the newest segments first.

`LedgerReader.find` tells all that is known of one request and reads the whole ledger for it. Here
the search for a request ends where it was found, and that for all of them when their time is up.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.errors import StoreUnavailable
from serving.ledger.contents import entries_of_trace, read_seal, read_segment
from serving.ledger.entry import Entry
from serving.ledger.files import segment_files

# A caller's calls in one trace are no further apart.
_APART_MS = 60_000
# Of a segment that may still grow.
_FOREVER_MS = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What answered a request: of all calls in its trace that went well."""

    # Unix time of the last answer.
    at_ms: int
    # (model, version, arm) of every version that had a part, each once.
    versions: tuple[tuple[str, int, str], ...]


def find_answered(folder: Path, trace_ids: Collection[str], until_s: float) -> dict[str, Answered]:
    """By trace id, what answered; without those that are not found, or that no model answered.

    Entries that are damaged are not found. Blocking: not for an event loop's thread.

    Args:
        folder: of the ledger; one that is not there holds nothing.
        trace_ids: 32 hex digits each.
        until_s: on the monotonic clock; segments that were closed are not begun afterwards. Those
            that are being written, and so the last requests, are always searched.

    Raises:
        StoreUnavailable: the ledger cannot be read.
    """
    found: dict[str, Answered] = {}
    try:
        for last_at_ms, path in _latest_first(folder):
            wanted = [
                trace_id
                for trace_id in trace_ids
                if trace_id not in found or found[trace_id].at_ms - _APART_MS <= last_at_ms
            ]
            late = last_at_ms < _FOREVER_MS and time.monotonic() > until_s
            if late or not wanted:
                break
            for trace_id, entry in _entries(path, wanted):
                found[trace_id] = _with(found.get(trace_id), entry)
    except OSError as error:
        raise StoreUnavailable(f"ledger {folder}: {error}") from error
    return found


def _latest_first(folder: Path) -> list[tuple[int, Path]]:
    """Segments with the time of their last entry."""
    try:
        files = segment_files(folder)
    except FileNotFoundError:
        return []
    found = []
    for file in files:
        try:
            seal = read_seal(file.path)
        except FileNotFoundError:
            # Deleted meanwhile, as the oldest one.
            continue
        found.append((_FOREVER_MS if seal is None else seal.last_at_ms, file.path))
    return sorted(found, reverse=True)


def _entries(path: Path, trace_ids: Collection[str]) -> Iterator[tuple[str, Entry]]:
    """A segment's answers by models."""
    try:
        data = read_segment(path).data
    except FileNotFoundError:
        return
    for trace_id in trace_ids:
        for entry in entries_of_trace(data, path.name, bytes.fromhex(trace_id)):
            if isinstance(entry, Entry) and entry.code == "OK" and entry.models:
                yield trace_id, entry


def _with(known: Answered | None, entry: Entry) -> Answered:
    versions = [] if known is None else list(known.versions)
    versions += [(use.model, use.version, use.arm) for use in entry.models]
    return Answered(
        at_ms=entry.at_ms if known is None else max(known.at_ms, entry.at_ms),
        versions=tuple(dict.fromkeys(versions)),
    )

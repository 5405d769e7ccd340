"""The line-ups, looked at time and again by everybody who follows them."""

import sqlite3
from pathlib import Path

from serving.errors import StoreUnavailable
from serving.versions.store import Entry, newest_entries

_BUSY_TIMEOUT_S = 5.0


class LineupWatch:
    """The newest entry of each model, read again only after the file has changed.

    Holds a connection; for one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Opens nothing yet; `path` is a `VersionStore`'s."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    def poll(self) -> dict[str, Entry] | None:
        """The entries, or None if they are as they were at the last call; some microseconds then.

        Raises:
            StoreUnavailable: the file cannot be read; the next call tries again.
        """
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    self._path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
                )
                self._seen = None
            # Changes with every commit of another connection.
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version == self._seen:
                return None
            entries = newest_entries(self._connection)
        except sqlite3.Error as error:
            self.close()
            raise StoreUnavailable(f"{self._path}: {error}") from error
        self._seen = version
        return entries

    def close(self) -> None:
        """Ends the connection; the next poll opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""The line-ups of all models with everything that ever happened to them, in one SQLite file.

A step is applied to the line-up that its author saw: whoever was overtaken is told by whom. Line-up
and history change in one transaction, on disk before the call returns. The history only grows, and
so do the verdicts of the gates.
"""

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import Conflict, InvalidRequest, StoreUnavailable
from serving.rollout.record import Rollout
from serving.versions.database import connected, make_tables, snapshot, transaction
from serving.versions.lineup import MAX_TEXT, Lineup, Step
from serving.versions.verdict import Verdict

FILE_NAME = "versions.sqlite"
_COLUMNS = "model, revision, action, author, reason, forced, history.lineup, at_ms"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One step that was taken."""

    model: str
    # Of the line-up that it made; counts from 1.
    revision: int
    # E.g. "canary 10".
    action: str
    author: str
    reason: str
    # Whether a gate that had failed was overruled.
    forced: bool
    # After the step.
    lineup: Lineup
    at_ms: int


class VersionStore:
    """One file; any number of processes. Blocking: not for an event loop's thread."""

    def __init__(self, path: Path, *, clock_ms: Callable[[], int] | None = None) -> None:
        """Makes the file if it is missing.

        Raises:
            StoreUnavailable: it cannot be made or is something else.
        """
        self.path = path
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        make_tables(path)

    def read(self, model: str) -> tuple[Lineup, int]:
        """A model's line-up and its revision; an empty one and 0 if nothing ever happened to it.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with connected(self.path) as connection:
            return _read(connection, model)

    def read_all(self) -> dict[str, Entry]:
        """The newest entry of every model to which anything ever happened.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with connected(self.path) as connection:
            return newest_entries(connection)

    def only_by(self, model: str, author: str) -> bool:
        """Whether nobody else has ever taken a step with the model.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with connected(self.path) as connection:
            return not connection.execute(
                "SELECT 1 FROM history WHERE model = ? AND author <> ? LIMIT 1", (model, author)
            ).fetchall()

    def apply(
        self,
        model: str,
        step: Step,
        *,
        action: str,
        author: str,
        reason: str,
        expected_revision: int | None = None,
        forced: bool = False,
        rollout: Rollout | None = None,
    ) -> Entry:
        """Takes a step and writes it down.

        A rollout goes on after a step that leaves its experiment alone, and ends with any other
        that does not carry it on.

        Args:
            model: whose line-up changes.
            step: from the present line-up to the next; see `serving.versions.lineup`.
            action: the step in words, for the history.
            author: who takes it.
            reason: why.
            expected_revision: what the author saw; None takes what is there now.
            forced: whether a gate that had failed is overruled.
            rollout: that takes the step, as it stands after it; None for a step of somebody.

        Raises:
            InvalidRequest: author or reason says nothing, or too much.
            Conflict: somebody was faster; names who, and what they did.
            StepRefused: the line-up does not allow the step.
            StoreUnavailable: the file cannot be written; nothing was.
        """
        for field, text in (("author", author), ("reason", reason)):
            if not text.strip():
                raise InvalidRequest(field, "is empty")
            if len(text) > MAX_TEXT:
                raise InvalidRequest(field, f"has {len(text)} characters, at most {MAX_TEXT}")
        with connected(self.path) as connection, transaction(connection):
            lineup, revision = _read(connection, model)
            if expected_revision is not None and revision != expected_revision:
                raise _overtaken(connection, model, expected_revision, revision)
            entry = Entry(
                model=model,
                revision=revision + 1,
                action=action,
                author=author.strip(),
                reason=reason.strip(),
                forced=forced,
                lineup=step(lineup),
                at_ms=self._clock_ms(),
            )
            _write(connection, entry)
            if rollout is not None:
                _write_rollout(connection, entry, rollout)
            elif _same_experiment(lineup, entry.lineup):
                connection.execute(
                    "UPDATE rollouts SET revision = ? WHERE model = ? AND revision = ?",
                    (entry.revision, model, revision),
                )
        return entry

    def newest(self, model: str) -> tuple[Entry | None, Rollout | None]:
        """The newest entry of a model and the rollout that it is part of, both of one moment.

        Raises:
            StoreUnavailable: the file cannot be read, or holds a rollout that is none.
        """
        with connected(self.path) as connection, snapshot(connection):
            entry = newest_entries(connection).get(model)
            rollouts = self._rollouts(connection, [] if entry is None else [entry])
        return entry, rollouts[0][1] if rollouts else None

    def rollouts(self) -> list[tuple[Entry, Rollout]]:
        """Every rollout that is going on, with the newest entry of its model, all of one moment.

        Raises:
            StoreUnavailable: the file cannot be read, or holds a rollout that is none.
        """
        with connected(self.path) as connection, snapshot(connection):
            return self._rollouts(connection, newest_entries(connection).values())

    def _rollouts(
        self, connection: sqlite3.Connection, entries: Iterable[Entry]
    ) -> list[tuple[Entry, Rollout]]:
        rows = connection.execute("SELECT model, revision, rollout FROM rollouts")
        texts = {(model, revision): text for model, revision, text in rows}
        try:
            return [
                (entry, Rollout.model_validate_json(texts[entry.model, entry.revision]))
                for entry in entries
                if (entry.model, entry.revision) in texts
            ]
        except ValueError as error:
            raise StoreUnavailable(f"{self.path}: rollouts: {error}") from error

    def change_rollout(self, entry: Entry, before: Rollout, after: Rollout) -> bool:
        """Writes down how a rollout stands, without a step; False if it has changed meanwhile.

        Raises:
            StoreUnavailable: the file cannot be written; nothing was.
        """
        with connected(self.path) as connection:
            changed = connection.execute(
                "UPDATE rollouts SET rollout = ? WHERE model = ? AND revision = ? AND rollout = ?",
                (
                    after.model_dump_json(),
                    entry.model,
                    entry.revision,
                    before.model_dump_json(),
                ),
            )
            return changed.rowcount == 1

    def history(self, model: str, limit: int = 100) -> list[Entry]:
        """What happened to a model, the newest first.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with connected(self.path) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM history WHERE model = ? ORDER BY revision DESC LIMIT ?",
                (model, limit),
            ).fetchall()
        return [_entry(row) for row in rows]

    def add_verdict(self, verdict: Verdict) -> None:
        """Writes down what a gate found; the newest verdict of a gate is the one that counts.

        Raises:
            StoreUnavailable: the file cannot be written; nothing was.
        """
        with connected(self.path) as connection:
            connection.execute(
                "INSERT INTO verdicts (model, version, verdict) VALUES (?, ?, ?)",
                (verdict.model, verdict.version, verdict.to_json()),
            )

    def verdicts(self, model: str, version: int) -> list[Verdict]:
        """Everything that gates ever found about a version, the newest first.

        Raises:
            StoreUnavailable: the file cannot be read, or holds a verdict that is none.
        """
        with connected(self.path) as connection:
            rows = connection.execute(
                "SELECT verdict FROM verdicts WHERE model = ? AND version = ? ORDER BY number DESC",
                (model, version),
            ).fetchall()
        try:
            return [Verdict.from_json(text) for (text,) in rows]
        except ValueError as error:
            raise StoreUnavailable(f"{self.path}: verdicts: {error}") from error


def _read(connection: sqlite3.Connection, model: str) -> tuple[Lineup, int]:
    row = connection.execute(
        "SELECT lineup, revision FROM lineups WHERE model = ?", (model,)
    ).fetchone()
    return (Lineup(model=model), 0) if row is None else (_parsed(row[0]), row[1])


def newest_entries(connection: sqlite3.Connection) -> dict[str, Entry]:
    """By model, the last step that was taken."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM history JOIN lineups USING (model, revision) ORDER BY model"
    )
    return {entry.model: entry for entry in map(_entry, rows)}


def _entry(row: tuple[Any, ...]) -> Entry:
    model, revision, action, author, reason, forced, lineup, at_ms = row
    return Entry(
        model=model,
        revision=revision,
        action=action,
        author=author,
        reason=reason,
        forced=bool(forced),
        lineup=_parsed(lineup),
        at_ms=at_ms,
    )


def _write(connection: sqlite3.Connection, entry: Entry) -> None:
    text = json.dumps(dataclasses.asdict(entry.lineup))
    connection.execute(
        "INSERT INTO lineups (model, revision, lineup) VALUES (?, ?, ?) "
        "ON CONFLICT (model) DO UPDATE SET revision = excluded.revision, lineup = excluded.lineup",
        (entry.model, entry.revision, text),
    )
    connection.execute(
        "INSERT INTO history (model, revision, action, author, reason, forced, lineup, at_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.model,
            entry.revision,
            entry.action,
            entry.author,
            entry.reason,
            int(entry.forced),
            text,
            entry.at_ms,
        ),
    )


def _write_rollout(connection: sqlite3.Connection, entry: Entry, rollout: Rollout) -> None:
    connection.execute(
        "REPLACE INTO rollouts (model, revision, rollout) VALUES (?, ?, ?)",
        (entry.model, entry.revision, rollout.model_dump_json()),
    )


def _same_experiment(before: Lineup, after: Lineup) -> bool:
    """Whether the same version is tried in the same way, beside the same live one."""
    return _experiment(before) == _experiment(after)


def _experiment(lineup: Lineup) -> tuple[object, ...]:
    return (lineup.live, lineup.candidate, lineup.canary_percent, lineup.salt)


def _parsed(text: str) -> Lineup:
    values: dict[str, Any] = json.loads(text)
    return Lineup(**{**values, "staged": tuple(values["staged"])})


def _overtaken(
    connection: sqlite3.Connection, model: str, expected: int, revision: int
) -> Conflict:
    row = connection.execute(
        "SELECT action, author FROM history WHERE model = ? AND revision = ?", (model, revision)
    ).fetchone()
    who = f": {row[1]} did {row[0]!r}" if row else ""
    return Conflict(f"{model} is at revision {revision}, not {expected}{who}; look again")

"""The store of line-ups: durable, one winner, a history that only grows."""

import sqlite3
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, StoreUnavailable
from serving.rollout.record import Rollout
from serving.versions import lineup as rules
from serving.versions.lineup import Lineup, StepRefused
from serving.versions.store import Entry, VersionStore, newest_entries

MODEL = "understanding"


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    times = iter(range(1000, 10_000))
    return VersionStore(tmp_path / "deep" / "versions.sqlite", clock_ms=lambda: next(times))


def take(
    store: VersionStore,
    name: str,
    *arguments: float,
    author: str = "ada",
    reason: str = "better",
    expected_revision: int | None = None,
    forced: bool = False,
    rollout: Rollout | None = None,
) -> Entry:
    def step(lineup: Lineup) -> Lineup:
        found: Lineup = getattr(rules, name)(lineup, *arguments)
        return found

    return store.apply(
        MODEL,
        step,
        action=" ".join([name, *(f"{argument:g}" for argument in arguments)]),
        author=author,
        reason=reason,
        expected_revision=expected_revision,
        forced=forced,
        rollout=rollout,
    )


def test_what_was_done_is_there_for_others_and_afterwards(store: VersionStore) -> None:
    assert store.read(MODEL) == (Lineup(model=MODEL), 0)
    take(store, "stage", 3)
    take(store, "promote", 3, author=" bob ", reason=" first one ", forced=True)
    lineup, revision = VersionStore(store.path).read(MODEL)
    assert (lineup.live, lineup.staged, revision) == (3, (), 2)
    newest, oldest = store.history(MODEL)
    assert store.read_all() == {MODEL: newest}
    assert (newest.action, newest.author, newest.reason) == ("promote 3", "bob", "first one")
    assert (newest.revision, newest.forced, newest.at_ms, newest.lineup) == (2, True, 1001, lineup)
    assert (oldest.action, oldest.forced, oldest.lineup.staged) == ("stage 3", False, (3,))
    assert store.history(MODEL, limit=1) == [newest]
    assert store.history("ranker") == []


def test_whoever_is_overtaken_learns_by_whom(store: VersionStore) -> None:
    take(store, "stage", 3)
    _, seen = store.read(MODEL)
    take(store, "stage", 4, author="bob", expected_revision=seen)
    with pytest.raises(Conflict, match="revision 2, not 1: bob did 'stage 4'; look again"):
        take(store, "stage", 5, expected_revision=seen)
    assert store.read(MODEL)[0].staged == (3, 4)


def test_of_many_at_once_one_wins(store: VersionStore) -> None:
    take(store, "stage", 3)
    wins: list[int] = []
    losses: list[Conflict] = []
    begin = threading.Barrier(8)

    def race(version: int) -> None:
        begin.wait()
        try:
            take(store, "stage", version, expected_revision=1)
        except Conflict as conflict:
            losses.append(conflict)
        else:
            wins.append(version)

    threads = [threading.Thread(target=partial(race, version)) for version in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(wins), len(losses)) == (1, 7)
    assert store.read(MODEL)[0].staged == (3, *wins)


def test_a_refused_step_leaves_no_trace(store: VersionStore) -> None:
    take(store, "stage", 3)
    with pytest.raises(StepRefused):
        take(store, "promote", 9)
    with pytest.raises(InvalidRequest) as caught:
        take(store, "promote", 3, reason=" ")
    assert caught.value.message == "reason: is empty"
    with pytest.raises(InvalidRequest) as caught:
        take(store, "promote", 3, author="a" * 1001)
    assert caught.value.message == "author: has 1001 characters, at most 1000"
    assert store.read(MODEL)[1] == len(store.history(MODEL)) == 1


def test_a_model_and_its_rollout_are_of_one_moment(
    store: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.newest(MODEL) == (None, None)
    take(store, "stage", 3)
    take(store, "promote", 3)
    take(store, "stage", 4)
    shadow = Rollout(version=4, author="ada", reason="better", stepped_at_ms=0)
    begun = take(store, "shadow", 4, rollout=shadow)
    assert store.newest("ranker") == (None, None)
    taken = [(begun, shadow)]

    def overtaken(connection: sqlite3.Connection) -> dict[str, Entry]:
        """The rollout goes on between two looks into the file."""
        found = newest_entries(connection)
        stage = len(taken)
        after = shadow.model_copy(update={"stage": stage})
        taken.append((take(store, "canary", 4, 10.0 * stage, rollout=after), after))
        return found

    monkeypatch.setattr("serving.versions.store.newest_entries", overtaken)
    assert store.newest(MODEL) == taken[0]
    assert store.newest(MODEL) == taken[1]
    assert store.rollouts() == [taken[2]]
    take(store, "rollback")
    monkeypatch.undo()
    assert store.newest(MODEL) == (store.history(MODEL)[0], None)
    assert store.rollouts() == []


def test_the_history_cannot_be_changed(store: VersionStore) -> None:
    take(store, "stage", 3)
    connection = sqlite3.connect(store.path)
    try:
        for statement in ("DELETE FROM history", "UPDATE history SET author = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="history is kept"):
                connection.execute(statement)
    finally:
        connection.close()


def test_a_step_survives_a_kill_right_after_it(store: VersionStore) -> None:
    code = f"""
import os, signal
from pathlib import Path
from serving.versions import lineup
from serving.versions.store import VersionStore
store = VersionStore(Path({str(store.path)!r}))
store.apply({MODEL!r}, lambda at: lineup.stage(at, 7), action="stage 7", author="x", reason="y")
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -9
    assert store.read(MODEL)[0].staged == (7,)


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "versions.sqlite"
    path.write_text("no database " * 100)
    with pytest.raises(StoreUnavailable, match=r"versions\.sqlite: "):
        VersionStore(path)
    folder = tmp_path / "file"
    folder.write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        VersionStore(folder / "versions.sqlite")

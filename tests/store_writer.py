"""Writes to a store until it is killed or told to stop, and tells on stdout what was acknowledged.

python tests/store_writer.py <file> endless <name>          ack <i>, for ever
python tests/store_writer.py <file> count <name> <turns>    done <conflicts>
python tests/store_writer.py <file> limited <bytes>         ack <i> ..., refused <message>
"""

import asyncio
import itertools
import resource
import sys
from pathlib import Path

import numpy as np

from serving.errors import CartwrightError, SessionConflict
from serving.stores.protocols import RatedRequest
from serving.stores.sqlite_database import Database
from serving.stores.sqlite_feedback import SqliteFeedback
from serving.stores.sqlite_history import SqliteHistory
from serving.stores.sqlite_knowledge import SqliteKnowledge
from serving.stores.sqlite_sessions import SqliteSessions
from serving.types import Article, Event, EventKind, Feedback

EVENTS_A_BATCH = 10
ENCODER = "encoder/1"


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def batch(name: str, number: int) -> list[Event]:
    return [
        Event(
            event_id=f"{name}-{number}-{i}",
            kind=EventKind.PURCHASE,
            product_id=f"p{number}",
            customer_id=name,
            occurred_at_ms=number + 1,
        )
        for i in range(EVENTS_A_BATCH)
    ]


def rating(name: str, number: int) -> RatedRequest:
    """Two thirds of them are helpful."""
    feedback = Feedback(
        trace_id=f"{name}-{number}", helpful=number % 3 > 0, occurred_at_ms=number + 1
    )
    return RatedRequest(feedback=feedback, answered_at_ms=number + 1, versions=((name, 1, "live"),))


def article(name: str, number: int) -> Article:
    body = f"Text {number} of {name}. " + "word " * 200
    return Article(article_id=f"{name}-{number % 20}", title=f"Title {number}", body=body)


async def write_one(database: Database, name: str, number: int, revision: int) -> None:
    """Round `number`: events, a rating, an article with its vector, one turn of a session."""
    await SqliteHistory(database).append(batch(name, number))
    await SqliteFeedback(database).record([rating(name, number)])
    vector = np.full(384, number, np.float32)
    await SqliteKnowledge(database).upsert([article(name, number)], [vector], ENCODER)
    await SqliteSessions(database).save(name, {"number": number}, revision)


async def endless(database: Database, name: str) -> None:
    stored = await SqliteSessions(database).load(name)
    first = stored.revision if stored else 0
    for number in itertools.count(first):
        await write_one(database, name, number, number)
        tell("ack", number)


async def count(database: Database, turns: int) -> None:
    sessions = SqliteSessions(database)
    conflicts = saved = 0
    while saved < turns:
        stored = await sessions.load("shared")
        number, revision = (stored.state["number"], stored.revision) if stored else (0, 0)
        try:
            await sessions.save("shared", {"number": number + 1}, revision)
        except SessionConflict:
            conflicts += 1
        else:
            saved += 1
    tell("done", conflicts)


async def limited(database: Database, most_bytes: int) -> None:
    # No file may grow beyond this: as if the disk were full.
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    try:
        for number in itertools.count():
            await write_one(database, "full", number, number)
            tell("ack", number)
    except CartwrightError as error:
        tell("refused", type(error).__name__, error.message)
    # Reading goes on.
    stored = await SqliteSessions(database).load("full")
    tell("read", stored.revision if stored else 0)


def main() -> None:
    path, mode, argument = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    try:
        database = Database(path, busy_timeout_ms=20_000)
    except CartwrightError as error:
        tell("refused", type(error).__name__, error.message)
        return
    if mode == "endless":
        asyncio.run(endless(database, argument))
    elif mode == "count":
        asyncio.run(count(database, int(sys.argv[4])))
    else:
        asyncio.run(limited(database, int(argument)))


if __name__ == "__main__":
    main()

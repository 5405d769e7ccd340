"""A running stack whose models change, and customers who talk to it meanwhile."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from model_build.publish import publish_again
from serving.cli.local_stack import LocalStack
from serving.cli.run_file import read_run_file
from serving.client import CommerceClient
from serving.models.repository import ModelRepository
from serving.protos import commerce_pb2 as pb

MODEL = "understanding"
DEADLINE_MS = 5_000.0
CALLERS = 6
# Of each caller, in turn: so many in all that both arms of an experiment get some of them.
CUSTOMERS = 5
# Between an answer and the customer's next words.
THINK_S = 0.02
_COMMAND_TIMEOUT_S = 120.0
REASON = "a test"


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    # With one blank between two words: a table breaks its lines anywhere.
    output: str
    errors: str


class Command:
    """`cartwright models ...` under way, at the longest until the end of a `with` block."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.kill()

    def kill(self) -> None:
        """As `kill -9` does it; returns when the process is gone."""
        self.process.kill()
        self.process.communicate(timeout=_COMMAND_TIMEOUT_S)

    def end(self) -> Ended:
        """Waits for its end."""
        output, errors = self.process.communicate(timeout=_COMMAND_TIMEOUT_S)
        return Ended(self.process.returncode, _in_one_line(output), _in_one_line(errors))


@dataclass(frozen=True)
class Promotable:
    """A stack over a repository of its own."""

    stack: LocalStack
    repository: Path
    run_file: Path

    def start(self, *arguments: object, author: str = "ada") -> Command:
        """Starts `cartwright models ...` in the stack's folder, a step with author and reason."""
        named = ("--author", author, "--reason", REASON) if arguments[0] not in _LOOKS else ()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving.cli.main", "models"),
                *map(str, (*arguments, *named)),
            ],
            cwd=self.stack.folder,
            env={**os.environ, "CARTWRIGHT_SERVER__RUN_FILE": str(self.run_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Command(process)

    def run(self, *arguments: object, author: str = "ada") -> Ended:
        """The same, to its end."""
        with self.start(*arguments, author=author) as command:
            return command.end()

    def take(self, *arguments: object, author: str = "ada") -> str:
        """The same; it has to succeed. Returns its output."""
        ended = self.run(*arguments, author=author)
        assert ended.code == 0, ended
        return ended.output

    def client(self) -> CommerceClient:
        """The admin's."""
        run = read_run_file(self.run_file)
        assert run is not None
        return CommerceClient(self.stack.address, token=run.admin_token)

    def shown(self) -> pb.ShowModelReply:
        """What `cartwright models show` prints."""
        with self.client() as client:
            return client.show_model(MODEL, deadline_ms=DEADLINE_MS)

    def live(self) -> int:
        """The live version."""
        (live,) = [status.version for status in self.shown().versions if status.stage == "live"]
        return live

    def status(self, version: int) -> pb.VersionStatus:
        """One version as it is now."""
        (found,) = [status for status in self.shown().versions if status.version == version]
        return found

    def settle(self) -> None:
        """Withdraws what is being tried, e.g. by a test that failed."""
        if any(status.stage in ("shadow", "canary") for status in self.shown().versions):
            self.take("rollback", MODEL)

    def publish(self) -> int:
        """Publishes the live version again; returns its number."""
        return publish_again(self.repository, MODEL, self.live(), now_ms=_now_ms()).version

    def folder(self, version: int) -> Path:
        """Where a version is published."""
        return ModelRepository(self.repository).version(MODEL, version).folder


# Commands that take no step.
_LOOKS = frozenset({"show", "history", "import"})


class Told(NamedTuple):
    """A reply as a customer got it."""

    # On the monotonic clock.
    at_s: float
    customer: str
    # Of `MODEL`; 0 and "" if it had no part in the reply.
    version: int
    arm: str
    degraded: tuple[pb.Degradation, ...]


@dataclass
class Load:
    """Customers who talk all the time, within a `with` block."""

    promotable: Promotable
    # What they say; may change while they talk.
    text: str = "how long does delivery take, take {turn}?"
    # Somebody new at every turn.
    strangers: bool = False
    answers: list[Told] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(CALLERS):
            thread = threading.Thread(target=self._talk, args=(number,))
            self._threads.append(thread)
            thread.start()
        wait(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def since(self, began_s: float) -> list[Told]:
        """The replies since then."""
        return [told for told in list(self.answers) if told.at_s >= began_s]

    def versions_since(self, began_s: float) -> set[int]:
        """Who answered since then."""
        return {told.version for told in self.since(began_s)}

    def assert_uninterrupted(self, began_s: float) -> None:
        """Every reply since then came as it should."""
        assert self.errors == []
        assert [told for told in self.since(began_s) if told.degraded] == []

    def _talk(self, number: int) -> None:
        with CommerceClient(self.promotable.stack.address, channels=1) as client:
            turn = 0
            while not self._over.wait(THINK_S):
                turn += 1
                customer = f"customer-{number}-{turn if self.strangers else turn % CUSTOMERS}"
                try:
                    reply = client.converse(
                        self.text.format(turn=turn),
                        session_id=customer,
                        deadline_ms=DEADLINE_MS,
                    )
                except BaseException as error:  # noqa: BLE001 - told by the test
                    self.errors.append(error)
                    return
                used = [v for v in reply.meta.model_versions if v.model == MODEL]
                version, arm = (used[0].version, used[0].arm) if used else (0, "")
                degraded = tuple(reply.meta.degraded)
                self.answers.append(Told(time.monotonic(), customer, version, arm, degraded))


def wait(condition: Callable[[], bool], timeout_s: float = 60.0, *, period_s: float = 0.02) -> None:
    """Returns once the condition holds, which is asked again after each period."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "not in time"
        time.sleep(period_s)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

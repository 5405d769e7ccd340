"""A new version goes live and back on a real stack under load, by the command line."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.cli.run_file import read_run_file
from serving.client import CommerceClient
from serving.errors import PermissionDenied
from serving.models.manifest import ModelManifest
from tests.integration.conftest import BuiltModels

pytestmark = pytest.mark.integration

MODEL = "understanding"
DEADLINE_MS = 5_000.0
CUSTOMERS = 6


@dataclass(frozen=True)
class Promotable:
    """A stack over a repository of its own."""

    stack: LocalStack
    repository: Path
    run_file: Path

    def models(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`cartwright models ...` in the stack's folder."""
        return subprocess.run(
            [sys.executable, "-m", "serving.cli.main", "models", *arguments],
            cwd=self.stack.folder,
            env={**os.environ, "CARTWRIGHT_SERVER__RUN_FILE": str(self.run_file)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def take(self, *arguments: str) -> str:
        """The same with a reason; it has to succeed."""
        done = self.models(*arguments, "--reason", "a test")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self) -> CommerceClient:
        """The admin's."""
        run = read_run_file(self.run_file)
        assert run is not None
        return CommerceClient(self.stack.address, token=run.admin_token)

    def publish_copy(self, version: int) -> Path:
        """The newest version again, under another number."""
        folder = self.repository / MODEL
        newest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        shutil.copytree(folder / str(newest), folder / str(version))
        copied = folder / str(version)
        ModelManifest.read(copied).model_copy(update={"version": version}).write(copied)
        return copied


@pytest.fixture(scope="module")
def running(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promotable]:
    folder = tmp_path_factory.mktemp("promotion")
    repository = folder / "models"
    shutil.copytree(models.repository, repository)
    run_file = folder / "serve.json"
    overrides = {
        **models.environment(),
        "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(repository),
        "CARTWRIGHT_TRITON__UNLOAD_AFTER_S": "2",
        "CARTWRIGHT_TRITON__PROBE_PERIOD_S": "0.5",
        # Gates take minutes, and have tests of their own.
        "CARTWRIGHT_VERSIONS__GATES": "[]",
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_SERVER__RUN_FILE": str(run_file),
    }
    with local_stack(overrides, folder) as stack:
        yield Promotable(stack, repository, run_file)


@dataclass
class Load:
    """Customers who talk all the time: each answer with when it came and who gave it."""

    running: Promotable
    # (seconds on the monotonic clock, customer, version, arm, degraded steps)
    answers: list[tuple[float, int, int, str, int]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        for number in range(CUSTOMERS):
            thread = threading.Thread(target=self._talk, args=(number,))
            self._threads.append(thread)
            thread.start()
        self.wait(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Returns once the condition holds."""
        give_up_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < give_up_s, "not in time"
            time.sleep(0.02)

    def versions_since(self, began_s: float) -> set[int]:
        """Who answered since then."""
        return {version for at, _, version, _, _ in self.answers if at >= began_s}

    def _talk(self, number: int) -> None:
        with CommerceClient(self.running.stack.address, channels=1) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                try:
                    reply = client.converse(
                        f"how long does delivery take, take {turn}?",
                        session_id=f"customer-{number}",
                        deadline_ms=DEADLINE_MS,
                    )
                except BaseException as error:  # noqa: BLE001 - told by the test
                    self.errors.append(error)
                    return
                (used,) = [v for v in reply.meta.model_versions if v.model == MODEL]
                degraded = len(reply.meta.degraded)
                self.answers.append((time.monotonic(), number, used.version, used.arm, degraded))


def test_a_version_goes_live_and_back_while_customers_talk(running: Promotable) -> None:
    with running.client() as client:
        before = client.show_model(MODEL, deadline_ms=DEADLINE_MS)
    (old,) = [status.version for status in before.versions if status.stage == "live"]
    new = old + 1
    running.publish_copy(new)
    with Load(running) as load:
        shown = running.take("promote", MODEL, str(new))
        switched_s = time.monotonic()
        assert f"promote {new}" in shown
        load.wait(lambda: load.versions_since(switched_s + 1.0) == {new})
        shown = running.take("rollback", MODEL)
        back_s = time.monotonic()
        assert "rollback" in shown
        load.wait(lambda: load.versions_since(back_s + 1.0) == {old})
        running.take("canary", MODEL, str(new), "50")
        canary_s = time.monotonic()
        load.wait(lambda: load.versions_since(canary_s + 1.0) == {old, new})
    assert load.errors == []
    assert not [answer for answer in load.answers if answer[4]]
    arms = {
        (customer, version, arm)
        for at, customer, version, arm, _ in load.answers
        if at >= canary_s + 1.0
    }
    # One arm for each customer.
    assert len(arms) == len({customer for customer, _, _ in arms})
    assert {(version, arm) for _, version, arm in arms} == {(old, "live"), (new, "canary")}
    history = running.models("history", MODEL)
    assert history.returncode == 0
    assert f"canary {new} 50%" in history.stdout
    running.take("rollback", MODEL)


def test_a_version_that_triton_cannot_load_is_withdrawn_with_its_reason(
    running: Promotable,
) -> None:
    folder = running.publish_copy(90)
    manifest = ModelManifest.read(folder)
    served = next(a for a in manifest.artifacts if a.kind == manifest.served_artifact)
    (folder / served.path).write_bytes(b"this is no model")
    done = running.models("promote", MODEL, "90", "--reason", "a test")
    assert done.returncode == 1
    assert "corrupt: its SHA-256 differs" in done.stderr
    with running.client() as client:
        shown = client.show_model(MODEL, deadline_ms=DEADLINE_MS)
        (live,) = [status.version for status in shown.versions if status.stage == "live"]
        (bad,) = [status for status in shown.versions if status.version == 90]
        reply = client.understand("hello", deadline_ms=DEADLINE_MS)
    assert bad.stage == "published"
    assert reply.meta.model_versions[0].version == live
    assert not reply.meta.degraded


def test_what_is_no_longer_wanted_is_unloaded(running: Promotable) -> None:
    with running.client() as client:
        give_up_s = time.monotonic() + 60.0
        while True:
            shown = client.show_model(MODEL, deadline_ms=DEADLINE_MS)
            loaded = {status.version for status in shown.versions if status.ready_host_ids}
            wanted = {
                status.version
                for status in shown.versions
                if status.stage in ("live", "previous", "shadow", "canary")
            }
            if loaded == wanted:
                break
            assert time.monotonic() < give_up_s, f"loaded {loaded}, wanted {wanted}"
            time.sleep(0.2)


def test_customers_may_not(running: Promotable) -> None:
    with (
        CommerceClient(running.stack.address, token="a-customers-key") as client,
        pytest.raises(PermissionDenied, match="may not see or change"),
    ):
        client.show_model(MODEL, deadline_ms=DEADLINE_MS)

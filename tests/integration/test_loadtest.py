"""`python -m loadtest` against a real stack: passes as it is, fails when it is made slow."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from serving.cli.local_stack import LocalStack
from tests.integration.conftest import ROOT, BuiltModels

pytestmark = pytest.mark.integration

# Loose enough for a busy machine without a GPU; the slowed stack is far beyond: a fifth of its
# calls are within 100 ms, so that half of some twenty never are.
LIMITS = {
    "calls_at_least": 20,
    "latency": {"Understand": {"p50_ms": 100}, "ConverseStream": {"p50_ms": 1000}},
    "errors": {"INTERNAL": 0, "INVALID_ARGUMENT": 0, "any": 0.1},
    "degraded_share": 0.2,
}


def loadtest(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def short_run(
    stack: LocalStack, models: BuiltModels, folder: Path, *options: str
) -> "subprocess.CompletedProcess[str]":
    limits = folder / "limits.yaml"
    limits.write_text(yaml.safe_dump(LIMITS))
    return loadtest(
        *("--host", stack.address, "--shop", str(models.shop), "--processes", "1"),
        *("--thresholds", str(limits), "--out", str(folder / "out")),
        *("--shape", "soak", "--ramp-s", "1", "--hold-s", "4", "--call-deadline-ms", "1500"),
        *options,
    )


@contextmanager
def in_pulses(stack: LocalStack) -> Iterator[None]:
    """Lets the model servers run for a tenth of each second only.

    Shorter than what their supervisor takes for hung, so that they are slow and not replaced.
    """
    servers = stack.tritonservers()
    assert servers
    enough = threading.Event()

    def pulse() -> None:
        try:
            while not enough.is_set():
                for server in servers:
                    server.send_signal(signal.SIGSTOP)
                enough.wait(0.9)
                for server in servers:
                    server.send_signal(signal.SIGCONT)
                enough.wait(0.1)
        finally:
            for server in servers:
                server.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_arrivals_pass_and_leave_a_report(
    stack: LocalStack, models: BuiltModels, tmp_path: Path
) -> None:
    ended = short_run(stack, models, tmp_path, "--model", "arrivals", "--level", "12")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "passed" in ended.stdout.splitlines()
    document = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert document["total"]["outcomes"]["OK"] > 12
    assert {"understand", "total"} <= set(document["server_steps"]["Converse"])
    assert document["total"]["first_event"]["p50_ms"] > 0
    assert document["generator_cpu"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 9
    assert "nothing was measured" in page, "there were no refusals"


def test_a_stack_that_is_slow_on_purpose_fails_and_the_run_says_why(
    stack: LocalStack, models: BuiltModels, tmp_path: Path
) -> None:
    with in_pulses(stack):
        ended = short_run(
            *(stack, models, tmp_path),
            *("--model", "arrivals", "--level", "12", "--mix", "Understand=1"),
        )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    missed = [line for line in ended.stdout.splitlines() if line.startswith("FAIL")]
    assert any(line.startswith("FAIL latency.Understand.p50_ms: ") for line in missed), missed
    assert all("at most" in line for line in missed)
    assert ended.stdout.splitlines()[-2] == "failed"


def test_users_on_journeys_pass(stack: LocalStack, models: BuiltModels, tmp_path: Path) -> None:
    options = ("--model", "users", "--level", "6", "--think-scale", "0.1")
    ended = short_run(stack, models, tmp_path, *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    document = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(document["by_method"]) & {"Converse", "ConverseStream"}
    assert set(document["by_method"]) & {"Recommend", "RecordEvents"}


def test_what_cannot_start_says_why() -> None:
    nobody = loadtest("--host", "127.0.0.1:1")
    assert nobody.returncode == 2
    assert "nothing listens at 127.0.0.1:1" in nobody.stderr
    unusable = loadtest("--host", "127.0.0.1:1", "--model", "arrivals")
    assert unusable.returncode == 2
    assert "needs a --shape" in unusable.stderr
    assert "Traceback" not in nobody.stderr + unusable.stderr

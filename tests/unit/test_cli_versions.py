"""`cartwright models traffic` and `diff`: read from files, without a stack."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from serving.ledger.entry import Entry, ModelUse
from serving.ledger.writer import Ledger
from serving.settings import LedgerSettings
from tests.tiny_models import manifest


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cartwright, ["models", *map(str, arguments)])


def call_json(*arguments: object) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# ---- traffic -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger: 100 calls by version 3, 20 by the canary 4, and some of another model."""
    ledger = Ledger(LedgerSettings(folder=tmp_path / "ledger"), "{}")
    now_ms = time.time_ns() // 1_000_000

    def enter(number: int, model: str, version: int, arm: str, **more: Any) -> None:
        values: dict[str, Any] = {"method": "Understand", "code": "OK", "duration_ms": 1.0, **more}
        use = ModelUse(model, version, arm, "ab" * 6)
        ledger.append(Entry(trace_id=f"{number:032x}", at_ms=now_ms, models=(use,), **values))

    for number in range(100):
        enter(number, "understanding", 3, "live", duration_ms=float(number + 1))
    for number in range(20):
        enter(
            1000 + number,
            "understanding",
            4,
            "canary",
            method="Converse",
            code="DEADLINE_EXCEEDED" if number < 5 else "OK",
        )
    enter(2000, "ranker", 1, "live")
    ledger.close()
    return tmp_path / "ledger"


def test_traffic_is_told_by_version_and_arm(folder: Path) -> None:
    found = call_json("traffic", "understanding", "--folder", folder)["traffic"]
    assert [(row["version"], row["arm"], row["calls"]) for row in found] == [
        (3, "live", 100),
        (4, "canary", 20),
    ]
    assert [row["failed"] for row in found] == [0, 5]
    assert (found[0]["p50_ms"], found[0]["p99_ms"]) == (50.5, 99.0)
    shown = call("traffic", "understanding", "--folder", folder).output
    assert "83.3%" in shown
    assert "16.7%" in shown


def test_traffic_of_one_method(folder: Path) -> None:
    found = call_json("traffic", "understanding", "--folder", folder, "--method", "Converse")
    assert [row["version"] for row in found["traffic"]] == [4]
    assert call_json("traffic", "encoder", "--folder", folder)["traffic"] == []


# ---- diff --------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version, seed, accuracy in ((1, 0, 0.9), (2, 7, 0.95), (3, 7, 0.95)):
        folder = tmp_path / "models" / "add" / str(version)
        folder.mkdir(parents=True)
        made = manifest("add", version=version)
        made.model_copy(update={"seed": seed, "metrics": {"accuracy": accuracy}}).write(folder)
    return tmp_path / "models"


def test_a_diff_says_what_changed_and_only_that(repository: Path) -> None:
    found = call_json("diff", "add", 1, 2, "--repository", repository)
    assert found["differences"] == {"figure accuracy": [0.9, 0.95], "seed": [0, 7]}
    shown = call("diff", "add", 1, 2, "--repository", repository).output
    assert "figure accuracy" in shown
    assert "tensor x" not in shown
    everything = call_json("diff", "add", 1, 2, "--repository", repository, "--all")
    assert everything["differences"]["tensor x"] == ["FP32[-1]", "FP32[-1]"]


def test_versions_that_do_not_differ(repository: Path) -> None:
    output = call("diff", "add", 2, 3, "--repository", repository).output
    assert "no difference but their numbers" in output


def test_a_version_that_is_not_there_is_named(repository: Path) -> None:
    result = call("diff", "add", 1, 9, "--repository", repository)
    assert result.exit_code == 1
    assert "no version 9, only [1, 2, 3]" in result.output

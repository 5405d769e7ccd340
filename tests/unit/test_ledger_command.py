"""`cartwright ledger`: what it prints, its exit codes."""

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from serving.cli.moments import moment_ms, utc
from serving.errors import InvalidRequest
from serving.ledger.entry import Entry
from serving.ledger.files import segment_files
from serving.ledger.reader import LedgerReader
from serving.ledger.writer import Ledger
from tests.ledger_entries import (
    NOT_READY,
    RANKER_1,
    UNDERSTANDING_3,
    UNDERSTANDING_4,
    entry,
    settings,
    trace_of,
)

SETTINGS = {"dialogue": {"max_failures": 2}}


def minutes_ago(minutes: float, one: Entry) -> Entry:
    return dataclasses.replace(one, at_ms=round((time.time() - 60 * minutes) * 1000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ledger = Ledger(settings(tmp_path / "ledger", age_s=86_400.0), json.dumps(SETTINGS))
    for one in (
        minutes_ago(90, entry(0, models=(UNDERSTANDING_3,))),
        minutes_ago(8, entry(1)),
        minutes_ago(5, entry(2, models=(UNDERSTANDING_4,), degraded=(NOT_READY,))),
        minutes_ago(3, entry(3, method="Recommend", models=(RANKER_1,), code="INTERNAL")),
        minutes_ago(1, entry(4, models=(UNDERSTANDING_4, RANKER_1))),
    ):
        ledger.append(dataclasses.replace(one, settings=ledger.settings_digest))
    ledger.close()
    return tmp_path / "ledger"


def call(folder: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cartwright, ["ledger", *arguments, "--folder", str(folder)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def call_json(folder: Path, *arguments: str, exit_code: int = 0) -> Any:
    result = call(folder, *arguments, "--json")
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def damage(folder: Path, number: int) -> int:
    """Damages the entry with a number; returns where."""
    (file,) = segment_files(folder)
    data = bytearray(file.path.read_bytes())
    place = data.index(bytes.fromhex(trace_of(number))) + 20
    data[place] ^= 1
    file.path.write_bytes(bytes(data))
    return place


# ---- show -----------------------------------------------------------------------------------


def test_show_prints_everything_about_a_request(folder: Path) -> None:
    result = call(folder, "show", trace_of(2))
    assert result.exit_code == 0
    (read,) = LedgerReader(folder).find(trace_of(2))
    assert isinstance(read, Entry)
    facts = dict(
        re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in result.stdout.splitlines()[:8]
    )
    assert facts == {
        "request": trace_of(2),
        "answered": f"{utc(read.at_ms)} UTC",
        "method": "Converse",
        "status": "OK",
        "time": "14.2 ms",
        "customer": "c0ffee0123456789",
        "settings": read.settings,
        "degraded": "rank -> the candidates' order: model ranker is not ready on any host",
    }
    words = [line.split() for line in result.stdout.splitlines()[8:]]
    assert words == [
        ["model", "version", "arm", "artifact"],
        ["understanding", "4", "canary", "60303ae22b99"],
    ]


def test_show_as_json_holds_the_settings_too(folder: Path) -> None:
    document = call_json(folder, "show", trace_of(4))
    (answer,) = document["answers"]
    assert document["request"] == trace_of(4)
    assert document["damages"] == []
    assert answer["settings_document"] == SETTINGS
    assert answer["models"][0] == {
        "model": "understanding",
        "version": 4,
        "arm": "canary",
        "artifact": "60303ae22b99",
    }
    assert (answer["method"], answer["code"], answer["degraded"]) == ("Converse", "OK", [])


def test_show_says_that_a_request_is_not_there_and_how_far_back_it_looked(folder: Path) -> None:
    result = call(folder, "show", trace_of(99))
    assert result.exit_code == 1
    since_ms = segment_files(folder)[0].created_at_ms
    assert f"NOT_FOUND: request {trace_of(99)}: no entry of it" in result.stderr
    assert f"the ledger reaches back to {utc(since_ms)} UTC" in result.stderr
    document = call_json(folder, "show", trace_of(99), exit_code=1)
    assert document["error"]["code"] == "NOT_FOUND"


def test_show_says_that_a_request_is_damaged(folder: Path) -> None:
    place = damage(folder, 2)
    result = call(folder, "show", trace_of(2))
    assert result.exit_code == 0
    found = re.search(r"bytes (\d+) to (\d+): an entry of request", result.stdout)
    assert found is not None
    assert int(found.group(1)) < place
    assert len(call_json(folder, "show", trace_of(2))["damages"]) == 1


def test_show_refuses_what_is_no_request(folder: Path) -> None:
    result = call(folder, "show", "12345")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: INVALID_ARGUMENT: request: must be hex digits")


# ---- list -----------------------------------------------------------------------------------


def listed(folder: Path, *arguments: str) -> list[str]:
    return [one["trace_id"] for one in call_json(folder, "list", *arguments)["entries"]]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ((), [1, 2, 3, 4]),
        (("--since", "4m"), [3, 4]),
        (("--since", "2h"), [0, 1, 2, 3, 4]),
        (("--since", "1d", "--until", "4m"), [0, 1, 2]),
        (("--since", "2026-01-31T12:00"), [0, 1, 2, 3, 4]),
        (("--model", "understanding"), [1, 2, 4]),
        (("--model", "understanding", "--version", "3"), [1]),
        (("--model", "understanding", "--version", "4"), [2, 4]),
        (("--model", "ranker", "--version", "4"), []),
        (("--limit", "2"), [3, 4]),
    ],
)
def test_list_shows_what_was_asked_for(
    folder: Path, arguments: tuple[str, ...], numbers: list[int]
) -> None:
    assert listed(folder, *arguments) == [trace_of(number) for number in numbers]


def test_list_prints_a_line_a_call(folder: Path) -> None:
    lines = call(folder, "list", "--limit", "3").stdout.splitlines()
    assert lines[0].startswith("answered (UTC)")
    assert [line.split()[2] for line in lines[1:4]] == [trace_of(n) for n in (2, 3, 4)]
    assert "understanding/4 canary" in lines[1]
    assert lines[1].rstrip().endswith("rank")
    assert "INTERNAL" in lines[2]
    assert "ranker/1" in lines[2]
    assert lines[-1] == "3 of 4 calls"


def test_list_tells_of_damage(folder: Path) -> None:
    damage(folder, 2)
    assert "damaged: " in call(folder, "list").stdout
    document = call_json(folder, "list")
    assert [one["trace_id"] for one in document["entries"]] == [trace_of(n) for n in (1, 3, 4)]
    assert len(document["damages"]) == 1


def test_list_tells_of_losses(folder: Path) -> None:
    ledger = Ledger(settings(folder), "{}")
    ledger.append(minutes_ago(0.5, entry(5)))
    ledger.append(minutes_ago(0.5, entry(6, code="NONE")))
    ledger.close()
    assert "could not be written: 1, from" in call(folder, "list").stdout
    assert [loss["entries"] for loss in call_json(folder, "list")["losses"]] == [1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--version", "3"), "--version: needs --model"),
        (("--since", "soon"), "--since: must be like 90s"),
        (("--until", "1h"), "--until: 1h is not after --since 10m"),
    ],
)
def test_list_refuses_what_makes_no_sense(
    folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = call(folder, "list", *arguments)
    assert result.exit_code == 1
    assert says in result.stderr


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", 910_000),
        ("1.5m", 910_000),
        ("0.1h", 640_000),
        ("1970-01-01T00:01", 60_000),
        ("1970-01-01T01:01+01:00", 60_000),
        ("1970-01-02", 86_400_000),
    ],
)
def test_moments(text: str, ms: int) -> None:
    assert moment_ms("--since", text, 1000.0) == ms


@pytest.mark.parametrize("text", ["", "m", "10", "10y", "-1m", "2026-13-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        moment_ms("--since", text, 1000.0)


# ---- verify ---------------------------------------------------------------------------------


def test_verify_counts_what_is_sound(folder: Path) -> None:
    result = call(folder, "verify")
    assert result.exit_code == 0
    assert "closed" in result.stdout
    assert result.stdout.splitlines()[-1] == "5 entries, all sound"
    document = call_json(folder, "verify")
    assert document["sound"] is True
    (segment,) = document["segments"]
    assert (segment["entries"], segment["state"], segment["missing"]) == (5, "closed", 0)


def test_verify_fails_and_says_where(folder: Path) -> None:
    place = damage(folder, 3)
    result = call(folder, "verify")
    assert result.exit_code == 1
    found = re.search(r"bytes (\d+) to (\d+): no whole record", result.stdout)
    assert found is not None
    assert int(found.group(1)) < place < int(found.group(2))
    document = call_json(folder, "verify", exit_code=1)
    assert document["sound"] is False
    assert [segment["missing"] for segment in document["segments"]] == [1]


def test_the_folder_is_that_of_the_settings(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(f"ledger: {{folder: {folder}}}")
    arguments = ["ledger", "verify", "--config", str(config), "--json"]
    result = CliRunner().invoke(cartwright, arguments)
    assert json.loads(result.stdout)["sound"] is True


def test_a_ledger_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    result = call(tmp_path / "nowhere", "verify")
    assert result.exit_code == 1
    assert "nowhere: there is no ledger" in result.stderr

"""`cartwright replay`: usage, what it refuses at once, and in which order it asks."""

import random
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from model_build.replay.cli import Moment, Versions, replay_command
from model_build.replay.pairs import replay
from model_build.replay.run import ReplayOptions, published, read_newest
from serving.cli.lazy import ExtensibleGroup
from serving.cli.main import ENTRY_POINT_GROUP, cartwright
from serving.context import RequestContext
from serving.errors import ModelUnavailable, StartupError
from serving.steps.understand import UnderstandInput
from serving.types import Understanding
from tests.recordings import record, writer
from tests.tiny_models import manifest

ROOT = Path(__file__).parents[2]


def publish_nothing(repository: Path, *versions: int) -> None:
    """Versions that have a manifest and no more."""
    for version in versions:
        folder = repository / "understanding" / str(version)
        folder.mkdir(parents=True)
        manifest("understanding", version=version).write(folder)


def recorded(folder: Path, *texts: str) -> Path:
    segments = writer(folder)
    for at, text in enumerate(texts):
        segments.append(record(text, arrived_at_ms=1_900_000_000_000 + at).line())
    segments.close()
    return folder


def run(*arguments: str | Path) -> tuple[int, str]:
    outcome = CliRunner().invoke(replay_command, [str(a) for a in arguments])
    if isinstance(outcome.exception, StartupError):
        return StartupError.exit_code, outcome.exception.message
    return outcome.exit_code, outcome.output


# ---- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--versions"),
        (("--versions", "3"), "'3': must be two version numbers, separated by a comma"),
        (("--versions", "3,4,5"), "'3,4,5': must be two version numbers"),
        (("--versions", "3,-4"), "'3,-4': must be two version numbers"),
        (("--versions", "4,4"), "'4,4': a version cannot be compared with itself"),
        (("--versions", "3,4", "--limit", "0"), "--limit"),
        (("--versions", "3,4", "--since", "yesterday"), "'yesterday': must be a time such as"),
        (("--versions", "3,4", "--model", "ranker"), "--model"),
    ],
)
def test_wrong_usage_is_named(arguments: tuple[str, ...], message: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert message in " ".join(output.split())


def test_versions_keep_their_order() -> None:
    assert Versions().convert(" 4 ,3", None, None) == (4, 3)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2030-05-31T12:00", 1_906_459_200_000),
        ("2030-05-31T12:00:00+02:00", 1_906_452_000_000),
        ("2030-05-31", 1_906_416_000_000),
    ],
)
def test_a_moment_is_a_time(text: str, at_ms: int) -> None:
    assert Moment().convert(text, None, None) == at_ms


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86_400), ("7d", 604_800)])
def test_a_moment_is_how_long_ago(text: str, seconds: int) -> None:
    ago_ms = time.time() * 1000 - Moment().convert(text, None, None)
    assert ago_ms == pytest.approx(seconds * 1000, abs=5000)


def test_the_command_is_offered_to_the_command_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"][ENTRY_POINT_GROUP]
    assert list(offered) == ["replay"]
    point = EntryPoint(name="replay", value=offered["replay"], group=ENTRY_POINT_GROUP)
    assert point.load() is replay_command
    assert isinstance(cartwright, ExtensibleGroup)


# ---- what is refused ----------------------------------------------------------------------------


def test_without_records_there_is_nothing_to_replay(tmp_path: Path) -> None:
    code, output = run("--versions", "1,2", "--records", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere: there are no recorded requests to understanding; `cartwright" in output
    recorded(tmp_path / "old", "where is it")
    code, output = run("--versions", "1,2", "--records", tmp_path / "old", "--since", "2035-01-01")
    assert code == 2
    assert "no recorded requests to understanding that arrived since then" in output


def test_a_version_that_is_not_published_is_named_with_those_that_are(tmp_path: Path) -> None:
    publish_nothing(tmp_path / "models", 1, 3)
    records = recorded(tmp_path / "records", "where is it")
    arguments = ("--records", records, "--repository", tmp_path / "models")
    code, output = run("--versions", "1,2", *arguments)
    assert code == 2
    assert "version 2 of understanding is not published (published: 1, 3)" in output
    with pytest.raises(StartupError, match=r"version 7 .*\(published: none\)"):
        published(tmp_path / "nothing", "understanding", (7, 8))


def test_the_newest_of_all_replicas_are_replayed(tmp_path: Path) -> None:
    # The segment that began later has older records too.
    for offset in (0, 1):
        segments = writer(tmp_path, clock_s=lambda offset=offset: 1_900_000_000.0 + offset)
        for at_ms in range(offset, 10, 2):
            segments.append(record(f"text {at_ms}", arrived_at_ms=at_ms).line())
        segments.close()
    options = ReplayOptions(
        repository=tmp_path, versions=(1, 2), records=tmp_path, since_ms=None, limit=4, seed=0
    )
    records, problems = read_newest(options)
    assert [one.text for one in records] == ["text 6", "text 7", "text 8", "text 9"]
    assert problems == []


# ---- both in turn -------------------------------------------------------------------------------


class Scripted:
    """A step that notes who was asked what."""

    def __init__(self, name: str, asked: list[tuple[str, str]], broken: str = "") -> None:
        self.name = name
        self.asked = asked
        self.broken = broken

    async def __call__(self, request: UnderstandInput, context: RequestContext) -> Understanding:
        self.asked.append((self.name, request.text))
        if request.text == self.broken:
            raise ModelUnavailable(f"{self.name} is away")
        return Understanding(intent=self.name, intent_confidence=1.0)


async def test_both_are_asked_in_turn_and_chance_says_who_comes_first() -> None:
    asked: list[tuple[str, str]] = []
    records = [record(f"text {n}") for n in range(100)]
    done: list[int] = []
    pairs = await replay(
        records,
        Scripted("old", asked),
        Scripted("new", asked),
        random.Random(1),
        lambda at, of: done.append(at),
    )
    counted = asked[-200:]
    assert [pair.record for pair in pairs] == records
    assert done == list(range(1, 101))
    first = [counted[2 * n][0] for n in range(100)]
    for n in range(100):
        assert {counted[2 * n], counted[2 * n + 1]} == {("old", f"text {n}"), ("new", f"text {n}")}
    assert 30 < first.count("old") < 70
    # Whoever is asked first, the answers stay with their versions.
    for pair in pairs:
        assert pair.first.understanding is not None
        assert pair.second.understanding is not None
        assert pair.first.understanding.intent == "old"
        assert pair.second.understanding.intent == "new"


async def test_a_failure_is_an_answer_too_and_the_replay_goes_on() -> None:
    asked: list[tuple[str, str]] = []
    records = [record("good"), record("bad"), record("good")]
    steps = Scripted("old", asked), Scripted("new", asked, broken="bad")
    pairs = await replay(records, *steps, random.Random(1))
    assert [pair.second.failure for pair in pairs] == ["", "ModelUnavailable: new is away", ""]
    assert pairs[1].second.understanding is None
    assert pairs[1].first.understanding is not None


def test_help_imports_no_more_than_the_options() -> None:
    program = (
        "import sys; from click.testing import CliRunner;"
        "from model_build.replay.cli import replay_command;"
        "print(CliRunner().invoke(replay_command, ['--help']).output);"
        "print([m for m in ('numpy', 'rich', 'jinja2', 'serving.settings') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "--versions" in output
    assert output.strip().endswith("[]")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_build.replay.command", None)
    outcome = CliRunner().invoke(replay_command, ["--versions", "1,2"])
    assert outcome.exit_code == click.ClickException.exit_code
    assert "'replay' cannot be loaded" in outcome.output
    assert "is its extra installed?" in outcome.output

"""The verdict of `cartwright replay`: stored, printed, and what promotions go by."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from model_build.replay import command
from model_build.replay.cli import replay_command
from model_build.replay.pairs import Pair
from model_build.replay.result import ReplayResult
from serving.models.version import ModelVersion
from serving.triton.records import HostRecord, HostState
from serving.versions.admin import Action, Change
from serving.versions.lineup import StepRefused
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate, Outcome
from tests.fakes.replays import answer, pair, result_of
from tests.model_admin import model_admin
from tests.recordings import record, writer
from tests.tiny_models import manifest

MODEL = "understanding"
ENOUGH = 1000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One recorded request, so that there is something to replay."""
    monkeypatch.setenv("CARTWRIGHT_STORES__FOLDER", str(tmp_path))
    segments = writer(tmp_path / "recording")
    segments.append(record("where is it").line())
    segments.close()
    return tmp_path


def replay(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pairs: list[Pair], *arguments: str
) -> Result:
    """The command, whose versions answer as they are told to."""

    async def answered(*_: object) -> ReplayResult:
        return result_of(*pairs)

    monkeypatch.setattr(command, "run_replay", answered)
    return CliRunner().invoke(
        replay_command,
        ["--versions", "3,4", "--out", str(folder / "out"), *arguments],
        catch_exceptions=False,
    )


def pairs_of(different: int, of: int = ENOUGH) -> list[Pair]:
    same = [pair(f"text {n}", answer(), answer()) for n in range(of - different)]
    return same + [pair("blue one", answer(), answer("complaint")) for _ in range(different)]


def written(folder: Path) -> ReplayResult:
    return ReplayResult.model_validate_json((folder / "out" / "replay.json").read_bytes())


@pytest.mark.parametrize(
    ("different", "of", "outcome", "code"),
    [
        (10, ENOUGH, Outcome.PASSED, 0),
        (200, ENOUGH, Outcome.FAILED, 1),
        (0, 20, Outcome.UNDECIDED, 1),
    ],
)
def test_the_verdict_is_about_the_second_version_against_the_first(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    different: int,
    of: int,
    outcome: Outcome,
    code: int,
) -> None:
    store = VersionStore(folder / FILE_NAME)
    ran = replay(folder, monkeypatch, pairs_of(different, of))
    assert ran.exit_code == code, ran.output
    (verdict,) = store.verdicts(MODEL, 4)
    assert (verdict.gate, verdict.version, verdict.against) == (Gate.REPLAY, 4, 3)
    assert verdict.outcome is outcome
    assert verdict.environment["tritonserver"] == "2.51.0"
    assert int(verdict.environment["cores"]) >= 1
    assert written(folder).verdict == verdict
    assert f"replay against 3: {outcome}: Of {of} recorded requests: " in ran.output
    assert f"the verdict is stored in {folder / FILE_NAME}" in ran.output
    assert f"<b>{outcome}</b>" in (folder / "out" / "replay.html").read_text()


def test_how_much_may_differ_is_an_option(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VersionStore(folder / FILE_NAME)
    assert replay(folder, monkeypatch, pairs_of(200), "--disagree", "0.3").exit_code == 0
    assert replay(folder, monkeypatch, pairs_of(10), "--disagree", "0.001").exit_code == 1
    newest, first = store.verdicts(MODEL, 4)
    assert (first.figures[0].at_most, newest.figures[0].at_most) == (0.3, 0.001)
    assert replay(folder, monkeypatch, [], "--disagree", "0").exit_code == 2


def test_where_no_versions_are_kept_nothing_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = replay(folder, monkeypatch, pairs_of(0))
    assert ran.exit_code == 0
    assert f"the verdict is not stored: {folder / FILE_NAME} is not there" in ran.output
    assert not (folder / FILE_NAME).exists()


def test_one_document_has_the_verdict_and_nothing_is_stored_without_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VersionStore(folder / FILE_NAME)
    ran = replay(folder, monkeypatch, pairs_of(0), "--json")
    document: dict[str, Any] = json.loads(ran.stdout)
    (verdict,) = store.verdicts(MODEL, 4)
    assert document["verdict"] == verdict.to_document()
    (folder / "file").write_text("in the way")
    ran = CliRunner().invoke(
        replay_command, ["--versions", "3,4", "--out", str(folder / "file" / "out")]
    )
    assert "cannot be written" in str(ran.exception)
    assert len(store.verdicts(MODEL, 4)) == 1


def test_a_promotion_goes_by_the_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {ModelVersion(MODEL, version) for version in (3, 4)}
    for version in (3, 4):
        published = folder / "models" / MODEL / str(version)
        published.mkdir(parents=True)
        manifest(MODEL, version=version).write(published)
    ready = HostRecord(host_id="a", state=HostState.READY, ready_models={MODEL: (3, 4)})
    admin = model_admin(
        folder,
        folder / "models",
        (MODEL,),
        lambda: [ready],
        lambda: versions,
        gates=(Gate.REPLAY,),
    )

    def take(action: Action, version: int) -> None:
        step = Change(model=MODEL, action=action, version=version, author="ada", reason="to see")
        admin.change(step)

    take(Action.STAGE, 3)
    take(Action.PROMOTE, 3)
    take(Action.STAGE, 4)
    with pytest.raises(StepRefused, match="run `cartwright replay --model understanding --vers"):
        take(Action.PROMOTE, 4)
    replay(folder, monkeypatch, pairs_of(200))
    with pytest.raises(StepRefused, match=r"replay failed: Of 1000 .* 'blue one': intent changed"):
        take(Action.PROMOTE, 4)
    replay(folder, monkeypatch, pairs_of(10))
    take(Action.PROMOTE, 4)
    assert admin.store.read(MODEL)[0].live == 4

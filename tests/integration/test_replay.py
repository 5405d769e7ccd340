"""A replay on a real tritonserver: two versions of the quick models, side by side."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from model_build.replay.cli import replay_command
from model_build.replay.differences import Kind
from model_build.replay.result import ReplayResult
from serving.cli.main import cartwright
from serving.models.manifest import ModelManifest, sha256_of
from serving.models.repository import ModelRepository
from serving.versions.verdict import Outcome
from tests.integration.conftest import BuiltModels
from tests.recordings import record, writer

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

MODEL = "understanding"
REQUESTS = 48


@pytest.fixture(scope="module")
def repository(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1 as it was built, 2 the same, 3 with its intents in another order, 4 with a broken file."""
    root = tmp_path_factory.mktemp("models")
    built = ModelRepository(models.repository).latest(MODEL).folder
    for version in (1, 2, 3, 4):
        folder = root / MODEL / str(version)
        shutil.copytree(built, folder, copy_function=os.link)
        _republish(folder, version)
    labels = json.loads((root / MODEL / "3" / "labels.json").read_text())
    labels["intents"] = labels["intents"][1:] + labels["intents"][:1]
    _replace(root / MODEL / "3" / "labels.json", json.dumps(labels).encode())
    _republish(root / MODEL / "3", 3)
    _replace(root / MODEL / "4" / "model.onnx", b"no model")
    _republish(root / MODEL / "4", 4)
    return root


@pytest.fixture(scope="module")
def records(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen of the held-out utterances, as if they had been recorded."""
    folder = tmp_path_factory.mktemp("records")
    lines = (models.shop / "held_out.jsonl").read_text().splitlines()
    held_out = [json.loads(line) for line in lines]
    texts = [entry["text"] for entry in held_out if entry["kind"] == "utterance"]
    segments = writer(folder)
    for number in range(REQUESTS):
        # Some text comes twice.
        text = texts[number % (REQUESTS - 8)]
        segments.append(record(text, arrived_at_ms=1_900_000_000_000 + number).line())
    segments.close()
    return folder


def _republish(folder: Path, version: int) -> None:
    """A manifest that fits the folder."""
    manifest = ModelManifest.read(folder)
    artifacts = tuple(
        artifact.model_copy(
            update={
                "sha256": sha256_of(folder / artifact.path),
                "size_bytes": (folder / artifact.path).stat().st_size,
            }
        )
        for artifact in manifest.artifacts
    )
    # Files are linked: others must not change with them.
    (folder / "manifest.json").unlink()
    manifest.model_copy(update={"version": version, "artifacts": artifacts}).write(folder)


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def replay(*arguments: str | Path) -> Result:
    """Runs the command under the group that turns errors into exit codes."""
    # As the entry point does, whether this checkout is the installed one or not.
    cartwright.add_command(replay_command)
    return CliRunner().invoke(cartwright, ["replay", *(str(a) for a in arguments)])


def test_a_version_agrees_with_itself(repository: Path, records: Path, tmp_path: Path) -> None:
    ran = replay(
        *("--versions", "1,2", "--records", records),
        *("--repository", repository, "--out", tmp_path / "out"),
    )
    # They are too few to be sure.
    assert ran.exit_code == 1, ran.output
    result = ReplayResult.model_validate_json((tmp_path / "out" / "replay.json").read_bytes())
    assert result.verdict is not None
    assert (result.verdict.version, result.verdict.against) == (2, 1)
    assert result.verdict.outcome is Outcome.UNDECIDED
    assert (result.records, result.texts) == (REQUESTS, REQUESTS - 8)
    assert result.disagreements.count == 0
    assert 0.0 < result.disagreements.high < 0.1
    assert result.examples == ()
    for side in (result.first, result.second):
        assert side.failed == 0
        assert side.latency is not None
        assert side.latency.calls == REQUESTS
        assert 0.0 < side.latency.p50_ms <= side.latency.p99_ms
    assert (result.first.version, result.second.version) == (1, 2)
    assert result.tritonserver
    assert "any of them" in ran.output
    page = (tmp_path / "out" / "replay.html").read_text()
    assert "The versions agree on every request." in page


def test_other_labels_change_every_intent_and_nothing_else(
    repository: Path, records: Path, tmp_path: Path
) -> None:
    ran = replay(
        *("--versions", "1,3", "--records", records, "--limit", "20", "--json"),
        *("--repository", repository, "--out", tmp_path),
    )
    assert ran.exit_code == 1, ran.output
    document: dict[str, Any] = json.loads(ran.stdout)
    result = ReplayResult.model_validate(document, strict=False)
    assert result.verdict is not None
    assert result.verdict.outcome is Outcome.FAILED
    assert result.records == 20
    counts = {kind: share.count for kind, share in result.by_kind.items() if share.count}
    assert counts == {Kind.INTENT: 20}
    assert result.disagreements.count == 20
    assert sum(change.records for change in result.intent_changes) == 20
    example = result.examples[0]
    assert example.first is not None
    assert example.second is not None
    assert example.first.intent != example.second.intent
    assert example.first.intent_confidence == pytest.approx(example.second.intent_confidence)
    page = (tmp_path / "replay.html").read_text()
    assert example.first.intent in page
    assert example.second.intent in page


def test_a_version_that_cannot_be_loaded_is_refused_with_tritons_reason(
    repository: Path, records: Path, tmp_path: Path
) -> None:
    ran = replay(
        *("--versions", "1,4", "--records", records),
        *("--repository", repository, "--out", tmp_path / "out"),
    )
    assert ran.exit_code == 2
    assert "model understanding.4: Triton cannot load it" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_corrupt_version_is_refused(repository: Path, records: Path, tmp_path: Path) -> None:
    corrupt = tmp_path / "models"
    shutil.copytree(repository, corrupt, copy_function=os.link)
    _replace(corrupt / MODEL / "2" / "model.onnx", b"changed")
    ran = replay(
        *("--versions", "1,2", "--records", records),
        *("--repository", corrupt, "--out", tmp_path / "out"),
    )
    assert ran.exit_code == 2
    assert "corrupt: its SHA-256 differs" in ran.stderr

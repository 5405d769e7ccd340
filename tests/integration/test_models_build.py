"""The build as its users run it: nothing twice, real data, readable refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.cli.demo_script import script_for
from serving.models.repository import ModelRepository
from tests.integration.conftest import ROOT, BuiltModels

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

PUBLIC_DATA = ROOT.parent / "shared" / "data"
MODELS = ("candidates", "decision", "encoder", "ranker", "understanding")


def run_build(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "serving.cli.main", "models", "build", "--profile", "quick"),
            *(str(argument) for argument in arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )


def versions(repository: Path) -> dict[str, list[int]]:
    return {model: ModelRepository(repository).versions(model) for model in MODELS}


def test_nothing_is_built_that_is_there_already(models: BuiltModels) -> None:
    before = versions(models.repository)
    again = run_build("--repository", models.repository, "--shop", models.shop)
    assert again.returncode == 0, again.stderr
    assert versions(models.repository) == before
    assert again.stdout.count("up to date") >= len(MODELS)


def test_every_published_file_is_what_its_manifest_says(models: BuiltModels) -> None:
    repository = ModelRepository(models.repository)
    for model in MODELS:
        version = repository.latest(model)
        version.verify()
        manifest = version.manifest
        assert manifest.parity
        served = [p for p in manifest.parity if p.artifact == manifest.served_artifact]
        assert all(p.passed for p in served)
        assert manifest.tools["onnxruntime"]
        # The encoder is taken as it was pretrained; nothing was learnt that could be held out.
        assert manifest.metrics or model == "encoder"


@pytest.mark.data
@pytest.mark.skipif(not PUBLIC_DATA.is_dir(), reason=f"no public data sets at {PUBLIC_DATA}")
def test_real_data_beats_the_trivial_baselines(tmp_path: Path) -> None:
    built = run_build(
        *("--data", PUBLIC_DATA, "--repository", tmp_path / "repo", "--shop", tmp_path / "shop")
    )
    assert built.returncode == 0, built.stderr
    assert "majority" in built.stdout
    assert "most popular" in built.stdout
    repository = ModelRepository(tmp_path / "repo")
    understanding = repository.latest("understanding").manifest
    candidates = repository.latest("candidates").manifest
    assert "bitext" in understanding.data_name.lower()
    assert "retail" in candidates.data_name.lower()
    for manifest, figure in ((understanding, "intent_accuracy"), (candidates, "hit_rate_10")):
        # By how much is the full profile's matter; this one sees little of the data.
        assert manifest.metrics[figure] > manifest.baseline_metrics[figure]
    script = script_for(tmp_path / "shop")
    held_out = {
        entry["text"]
        for entry in map(
            json.loads, (tmp_path / "shop" / "held_out.jsonl").read_text().splitlines()
        )
        if entry["kind"] == "utterance"
    }
    # The demo converses with words that no model was trained on.
    assert len([turn for turn in script.turns if turn.text in held_out]) >= 5


def test_a_data_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    refused = run_build(
        *("--data", missing, "--repository", tmp_path / "repo", "--shop", tmp_path / "shop")
    )
    assert refused.returncode == 2
    assert str(missing) in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    refused = run_build("--repository", blocked / "repo", "--shop", tmp_path / "shop")
    assert refused.returncode == 2
    assert str(blocked) in refused.stderr
    assert "Traceback" not in refused.stderr

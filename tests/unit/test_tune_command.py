"""What `cartwright models tune` refuses before it starts anything."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from model_build.serving_profile import FILE_NAME
from model_build.specs import SPECS
from model_build.tune.command import tune_command
from serving.errors import StartupError
from tests.tiny_models import manifest


def publish_nothing(repository: Path, model: str = "decision") -> None:
    """A version that has a manifest and no more."""
    folder = repository / model / "1"
    folder.mkdir(parents=True)
    spec = SPECS[model]
    manifest(model, spec.inputs, spec.outputs, max_batch_size=spec.max_batch_size).write(folder)


def tune(repository: Path, *arguments: str, model: str = "decision") -> tuple[int, str]:
    outcome = CliRunner().invoke(
        tune_command, [model, "--repository", str(repository), *arguments], catch_exceptions=True
    )
    if isinstance(outcome.exception, StartupError):
        return StartupError.exit_code, outcome.exception.message
    return outcome.exit_code, outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--p99-ms"),
        (("--p99-ms", "0"), "--p99-ms"),
        (("--p99-ms", "9", "--minutes", "0.1"), "--minutes 0.1: too short for"),
        (("--p99-ms", "9", "--rows", "65"), "--rows 65: decision takes at most 64"),
        (("--p99-ms", "9", "--batches", "8,65"), "--batches 65: decision takes at most 64"),
        (("--p99-ms", "9", "--delays", "0;5"), "'0;5': must be whole numbers"),
        (("--p99-ms", "9", "--instances", "0,1"), "0 is below 1"),
    ],
)
def test_wrong_usage_is_named(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    publish_nothing(tmp_path)
    code, output = tune(tmp_path, *arguments)
    assert code == 2
    assert message in output


@pytest.mark.parametrize("option", ["--concurrency", "--levels"])
def test_a_load_that_the_queue_would_refuse_is_not_tried(tmp_path: Path, option: str) -> None:
    publish_nothing(tmp_path, "understanding")
    code, output = tune(tmp_path, "--p99-ms", "9", option, "129", model="understanding")
    assert code == 2
    assert f"{option} 129: the queue of understanding takes 128 requests" in output


def test_without_a_published_version_there_is_nothing_to_tune(tmp_path: Path) -> None:
    code, output = tune(tmp_path, "--p99-ms", "9")
    assert code == 2
    assert "no published version of model 'decision'" in output


def test_a_malformed_profile_in_place_is_refused_by_field(tmp_path: Path) -> None:
    publish_nothing(tmp_path)
    (tmp_path / "decision" / FILE_NAME).write_text('{"model": 3}')
    code, output = tune(tmp_path, "--p99-ms", "9")
    assert code == 2
    assert f"decision/{FILE_NAME}: model: Input should be a valid string (got 3)" in output

"""What `cartwright models tune` refuses before it starts anything."""

from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from model_build.serving_profile import FILE_NAME, TunedHosting, spec_hosting
from model_build.specs import SPECS
from model_build.tune.command import tune_command
from model_build.tune.options import AskedAxes, sweep_options
from model_build.tune.sweep import SweepOptions
from serving.errors import StartupError
from tests.fakes.tuning import tuned_profile
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


def options(
    repository: Path, queue: int | None, concurrency: int, levels: tuple[int, ...] | None
) -> SweepOptions:
    """A sweep of a model whose queue takes so many requests."""
    spec = SPECS["decision"]
    hosting = spec.hosting["cpu"]
    batching = replace(hosting.batching, max_queue_size=queue)
    return sweep_options(
        replace(spec, hosting={"cpu": replace(hosting, batching=batching)}),
        AskedAxes(instances=None, threads=None, delays=None, batches=None),
        repository,
        1,
        concurrency,
        levels,
        30.0,
        5.0,
    )


@pytest.mark.parametrize(
    ("concurrency", "levels", "message"),
    [
        (129, None, "--concurrency 129: the queue of decision takes 128 requests"),
        (8, (1, 129), "--levels 129: the queue of decision takes 128 requests"),
    ],
)
def test_a_load_that_the_queue_would_refuse_is_not_tried(
    tmp_path: Path, concurrency: int, levels: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(click.UsageError, match=message):
        options(tmp_path, 128, concurrency, levels)
    assert options(tmp_path, None, concurrency, levels).concurrency == concurrency


@pytest.mark.parametrize(
    ("queue", "concurrency", "levels", "others"),
    [
        (128, 8, None, (1, 32)),
        (128, 100, None, (1, 128)),
        (128, 128, None, (1,)),
        (None, 100, None, (1, 400)),
        (None, 1, None, (4,)),
        (None, 8, (8, 16), (16,)),
    ],
)
def test_other_levels_are_those_that_the_queue_takes(
    tmp_path: Path,
    queue: int | None,
    concurrency: int,
    levels: tuple[int, ...] | None,
    others: tuple[int, ...],
) -> None:
    assert options(tmp_path, queue, concurrency, levels).other_levels == others


def test_the_profile_in_place_is_the_hosting_in_use(tmp_path: Path) -> None:
    (tmp_path / "decision").mkdir()
    in_place = TunedHosting(
        instances=3, intra_op_threads=1, max_queue_delay_microseconds=100, max_batch_rows=7
    )
    assert options(tmp_path, None, 8, None).in_use == spec_hosting(SPECS["decision"], "cpu")
    tuned_profile("decision", in_place).write(tmp_path)
    assert options(tmp_path, None, 8, None).in_use == in_place


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

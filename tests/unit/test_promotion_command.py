"""`cartwright models gate`: what it refuses, and what it prints."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from model_build.promotion.command import gate_command, latency_options
from model_build.promotion.report import lines, table
from model_build.serving_profile import spec_hosting
from model_build.specs import SPECS
from serving.errors import CartwrightError
from serving.versions.verdict import Figure, Gate, Outcome
from tests.fakes.verdicts import verdict
from tests.tiny_models import manifest

MODEL = "decision"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Versions 1 and 2 that have manifests and no more."""
    monkeypatch.setenv("CARTWRIGHT_STORES__FOLDER", str(tmp_path / "versions"))
    spec = SPECS[MODEL]
    for version in (1, 2):
        folder = tmp_path / "models" / MODEL / str(version)
        folder.mkdir(parents=True)
        manifest(
            MODEL,
            spec.inputs,
            spec.outputs,
            version=version,
            max_batch_size=spec.max_batch_size,
        ).write(folder)
    return tmp_path / "models"


def gate(repository: Path, *arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(
        gate_command, [MODEL, *arguments, "--repository", str(repository)], catch_exceptions=True
    )
    if isinstance(outcome.exception, CartwrightError):
        return -1, outcome.exception.message
    return outcome.exit_code, outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0",), "0 is not in the range"),
        (("2", "--only", "beauty,parity"), "'beauty': must be some of parity, quality, latency"),
        (("2", "--only", "replay"), "'replay': must be some of parity, quality, latency"),
        (("2", "--only", "quality"), "--only quality: there is no live version: give --against"),
        (("2", "--against", "2"), "version 2 is compared with itself: give --against"),
        (
            ("2", "--against", "1", "--minutes", "0.2"),
            "--minutes 0.2: 4 rounds, at least 6 are needed: 0.25 minutes",
        ),
        (("2", "--against", "1", "--slower", "0"), "--slower"),
    ],
)
def test_wrong_usage_is_named(repository: Path, arguments: tuple[str, ...], message: str) -> None:
    code, output = gate(repository, *arguments)
    assert code == 2
    assert message in " ".join(output.split())


def test_a_load_that_the_queue_would_refuse_is_not_tried() -> None:
    with pytest.raises(click.UsageError, match="--concurrency 129: the queue of understanding"):
        latency_options(Path("nowhere"), "understanding", 4.0, 129, 0.1)
    options = latency_options(Path("nowhere"), "understanding", 4.0, 128, 0.1)
    assert (options.concurrency, options.rounds, options.slower) == (128, 96, 0.1)
    assert options.hosting == spec_hosting(SPECS["understanding"], "cpu")


def test_a_version_that_is_not_published_is_named(repository: Path) -> None:
    code, message = gate(repository, "7")
    assert code == -1
    assert message.startswith("version 7 of decision is not published in ")
    assert message.endswith("(published: 1, 2)")
    assert "version 9 of decision" in gate(repository, "2", "--against", "9")[1]


def test_verdicts_are_printed_with_what_was_needed() -> None:
    made = [
        verdict(Gate.PARITY, figures=(Figure(name="mean_cosine", value=0.9935, at_least=0.985),)),
        verdict(
            Gate.LATENCY,
            Outcome.FAILED,
            reason="Slower than it may be.",
            figures=(
                Figure(name="p99", value=40.0, unit="ms"),
                Figure(name="p99_ratio", value=2.0, at_most=1.1, low=1.9, high=2.25),
            ),
            examples=("this [one]",),
        ),
        verdict(Gate.QUALITY, examples=("not told of one that passed",)),
    ]
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(table(made))
    rows = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert rows == [
        "understanding 4",
        "gate verdict figure value 95 % confidence needed",
        "parity passed mean cosine 0.9935 at least 0.985",
        "latency failed p99 40 ms",
        "p99 ratio 2 1.9 to 2.25 at most 1.1",
        "quality passed",
    ]
    assert list(lines(made)) == [
        "parity: passed: So it is.",
        "latency against 3: failed: Slower than it may be.",
        "  this [one]",
        "quality against 3: passed: So it is.",
    ]

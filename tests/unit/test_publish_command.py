"""`cartwright models publish`: what it refuses at once, and what makes a checkpoint another one."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_build import publish_checkpoint
from model_build.publish_checkpoint import CheckpointOptions
from model_build.publish_command import publish_command
from serving.cli.models import ENTRY_POINT_GROUP
from serving.errors import CartwrightError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from tests.tiny_models import manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a checkpoint, as far as a digest goes."""
    checkpoint = tmp_path / "mine"
    checkpoint.mkdir()
    for name in ("model.safetensors", "config.json", "labels.json"):
        (checkpoint / name).write_text(name)
    return checkpoint


def publish(folder: Path, *arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(
        publish_command,
        ["understanding", str(folder), "--repository", str(folder.parent / "models"), *arguments],
    )
    if isinstance(ran.exception, CartwrightError):
        return -1, ran.exception.message
    return ran.exit_code, ran.output


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[CheckpointOptions]:
    """Instead of the export: a manifest alone. Filled with what was asked for."""
    asked: list[CheckpointOptions] = []

    def make(
        options: CheckpointOptions, _materials: object, _digest: str, key: str, _say: object
    ) -> ModelManifest:
        version = max(ModelRepository(options.repository).versions("understanding"), default=0) + 1
        made = manifest("understanding", version=version).model_copy(update={"build_key": key})
        target = options.repository / "understanding" / str(version)
        target.mkdir(parents=True)
        made.write(target)
        asked.append(options)
        return made

    monkeypatch.setattr(publish_checkpoint, "_publish", make)
    return asked


def test_a_checkpoint_is_published_once(folder: Path, published: list[CheckpointOptions]) -> None:
    assert "mine: published as understanding 1 (onnx)" in publish(folder)[1]
    assert (folder.parent / "models" / "understanding" / "config.pbtxt").is_file()
    assert "mine: here already as understanding 1 (onnx)" in publish(folder)[1]
    assert '"published": false' in publish(folder, "--json")[1]
    assert len(published) == 1


@pytest.mark.parametrize(
    "arguments", [("--held-out-unseen",), ("--seed", "1"), ("--profile", "quick")]
)
def test_what_it_is_judged_by_makes_it_another_version(
    folder: Path, published: list[CheckpointOptions], arguments: tuple[str, ...]
) -> None:
    publish(folder)
    assert "published as understanding 2" in publish(folder, *arguments)[1]
    first, second = published
    assert (first.unseen, first.seed, first.profile.name) == (False, 0, "full")
    assert first != second


def test_other_weights_are_another_version(
    folder: Path, published: list[CheckpointOptions]
) -> None:
    publish(folder)
    (folder / "model.safetensors").write_text("others")
    assert "published as understanding 2" in publish(folder)[1]


def test_what_cannot_be_published_is_named(folder: Path) -> None:
    (folder / "labels.json").unlink()
    code, message = publish(folder)
    assert code == -1
    assert message.endswith("labels.json: cannot be read: No such file or directory")
    assert not (folder.parent / "models").exists()
    assert "is not a folder" in publish(folder, "--data", str(folder / "nothing"))[1]
    ran = CliRunner().invoke(publish_command, ["ranker", str(folder)])
    assert ran.exit_code == 2
    assert "'ranker' is not 'understanding'" in ran.output


def test_the_command_is_offered_to_the_command_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    value = project["entry-points"][ENTRY_POINT_GROUP]["publish"]
    assert (
        EntryPoint(name="publish", value=value, group=ENTRY_POINT_GROUP).load() is publish_command
    )

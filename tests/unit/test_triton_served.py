"""The repository that a server reads: one model for each version."""

from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from serving.errors import StartupError
from serving.models.manifest import TensorSpec
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion, by_model
from serving.triton.served import ServedRepository, parse_served_name, served_name
from tests.tiny_models import manifest

CONFIG = """
name: "add" backend: "onnxruntime" max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""


@pytest.fixture
def models(tmp_path: Path) -> ModelRepository:
    for version, width in ((1, 3), (12, 5)):
        folder = tmp_path / "models" / "add" / str(version)
        folder.mkdir(parents=True)
        wide = TensorSpec(name="y", dtype="FP32", dims=(width,))
        manifest("add", outputs=(wide,), version=version).write(folder)
    (tmp_path / "models" / "add" / "config.pbtxt").write_text(CONFIG)
    return ModelRepository(tmp_path / "models")


def offered(served: ServedRepository, version: int) -> model_config_pb2.ModelConfig:
    name = served.offer(ModelVersion("add", version))
    text = (served.root / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_names_come_back() -> None:
    for version in (ModelVersion("add", 3), ModelVersion("a.b", 12)):
        assert parse_served_name(served_name(version)) == version
    assert [parse_served_name(name) for name in ("add", "add.", ".3", "add.x")] == [None] * 4


def test_each_version_is_a_model_with_its_own_outputs(
    models: ModelRepository, tmp_path: Path
) -> None:
    served = ServedRepository(models, tmp_path / "cache")
    for version, width in ((1, 3), (12, 5)):
        config = offered(served, version)
        assert config.name == f"add.{version}"
        assert list(config.output[0].dims) == [width]
        assert list(config.input[0].dims) == [-1]
        link = served.root / f"add.{version}" / str(version)
        assert link.resolve() == (models.root / "add" / str(version)).resolve()
    assert sorted(p.name for p in served.root.iterdir()) == ["add.1", "add.12"]


def test_a_version_grows_by_one_instance_at_a_time(models: ModelRepository, tmp_path: Path) -> None:
    config = models.root / "add" / "config.pbtxt"
    groups = "instance_group { count: 1 kind: KIND_GPU } instance_group { count: 3 kind: KIND_CPU }"
    config.write_text(CONFIG + groups)
    served = ServedRepository(models, tmp_path / "cache")
    whole = offered(served, 12)
    grown = [
        json_format.Parse(text, model_config_pb2.ModelConfig())
        for text in served.growing_configs("add.12")
    ]
    assert [[group.count for group in one.instance_group] for one in grown] == [
        [1, 1],
        [1, 2],
        [1, 3],
    ]
    # Anything else that differed would make Triton load the version again.
    assert grown[-1] == whole
    # Without a group, it is Triton's to choose.
    config.write_text(CONFIG)
    offered(served, 12)
    (only,) = served.growing_configs("add.12")
    assert not json_format.Parse(only, model_config_pb2.ModelConfig()).instance_group


def test_what_changed_is_offered_anew(models: ModelRepository, tmp_path: Path) -> None:
    served = ServedRepository(models, tmp_path / "cache")
    assert offered(served, 1).max_batch_size == 8
    (models.root / "add" / "config.pbtxt").write_text(CONFIG.replace("8", "16"))
    assert offered(served, 1).max_batch_size == 16


def test_a_configuration_that_cannot_be_read_is_named(
    models: ModelRepository, tmp_path: Path
) -> None:
    path = models.root / "add" / "config.pbtxt"
    path.write_text("nonsense")
    with pytest.raises(StartupError, match=r"add/config\.pbtxt: Triton's configuration cannot"):
        ServedRepository(models, tmp_path / "cache").offer(ModelVersion("add", 1))


def test_a_folder_that_cannot_be_made_is_named(models: ModelRepository, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    served = ServedRepository(models, tmp_path / "cache")
    for act in (served.prepare, lambda: served.offer(ModelVersion("add", 1))):
        with pytest.raises(StartupError, match=r"triton\.cache_folder: "):
            act()


def test_repositories_of_other_places_do_not_mix(models: ModelRepository, tmp_path: Path) -> None:
    other = ServedRepository(ModelRepository(tmp_path / "others"), tmp_path / "cache")
    assert other.root != ServedRepository(models, tmp_path / "cache").root


def test_versions_by_model() -> None:
    found = by_model([ModelVersion("b", 2), ModelVersion("a", 12), ModelVersion("a", 3)])
    assert found == {"a": (3, 12), "b": (2,)}

"""The exported folder: what lies in it, and what is never overwritten."""

from pathlib import Path

import pytest

from model_build.exchange.triton_export import export_for_triton
from model_build.triton_config import parse_config
from serving.errors import Conflict, StartupError
from serving.models.repository import ModelRepository, PublishedVersion
from tests.small_versions import ITEMS, publish_candidates, publish_decision


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    publish_decision(made, 0.25)
    publish_decision(made, 0.75)
    publish_candidates(made)
    return made


def version(repository: Path, model: str, number: int) -> PublishedVersion:
    return ModelRepository(repository).version(model, number)


def test_the_folder_is_a_plain_repository(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = version(repository, "decision", 2)
    files = export_for_triton(source, repository, out, "cpu")
    assert [str(path) for path in files] == [
        "decision/1/features.json",
        "decision/1/model.onnx",
        "decision/config.pbtxt",
    ]
    assert (out / files[1]).read_bytes() == (source.folder / "model.onnx").read_bytes()
    text = (out / files[2]).read_text()
    assert text.startswith("# decision 2 of a Cartwright model repository: onnx,\n# SHA-256 ")
    assert source.manifest.artifacts[0].sha256 in text
    config = parse_config(text)
    assert (config.name, config.backend, config.platform) == ("decision", "onnxruntime", "")
    assert config.max_batch_size == 64
    # Readable by a server that runs as somebody else.
    assert all((out / path).stat().st_mode & 0o044 for path in files)
    assert (out / "decision").stat().st_mode & 0o055 == 0o055


def test_free_dimensions_of_the_spec_are_those_of_the_graph(
    repository: Path, tmp_path: Path
) -> None:
    export_for_triton(version(repository, "candidates", 1), repository, tmp_path, "cpu")
    config = parse_config((tmp_path / "candidates" / "config.pbtxt").read_text())
    assert [list(field.dims) for field in config.input] == [[50]]
    # The spec says -1, which the ONNX Runtime backend refuses for a graph that says 3.
    assert [list(field.dims) for field in config.output] == [[ITEMS], [ITEMS]]


def test_hosting_is_for_the_asked_kind_of_machine(repository: Path, tmp_path: Path) -> None:
    for target, kind in (("cpu", "KIND_CPU"), ("gpu", "KIND_GPU")):
        export_for_triton(
            version(repository, "decision", 1),
            repository,
            tmp_path / target,
            target,  # type: ignore[arg-type]
        )
        assert f"kind: {kind}" in (tmp_path / target / "decision" / "config.pbtxt").read_text()


def test_several_models_share_a_folder_and_none_is_overwritten(
    repository: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_for_triton(version(repository, "decision", 1), repository, out, "cpu")
    export_for_triton(version(repository, "candidates", 1), repository, out, "cpu")
    before = (out / "decision" / "1" / "model.onnx").read_bytes()
    with pytest.raises(Conflict, match=f"{out / 'decision'}: is there already"):
        export_for_triton(version(repository, "decision", 2), repository, out, "cpu")
    assert (out / "decision" / "1" / "model.onnx").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["candidates", "decision"]


def test_a_damaged_version_is_not_exported(repository: Path, tmp_path: Path) -> None:
    source = version(repository, "decision", 1)
    (source.folder / "features.json").write_bytes(b"[]")
    with pytest.raises(StartupError, match=r"features\.json: corrupt"):
        export_for_triton(source, repository, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_failure_in_the_middle_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    source = version(repository, "decision", 1)
    out = tmp_path / "out"
    out.write_text("a file where the folder belongs")
    with pytest.raises(StartupError, match=f"{out}.*: cannot be written: "):
        export_for_triton(source, repository, out, "cpu")
    out.unlink()
    out.mkdir()
    # A name that is taken at the last moment: by a link that leads nowhere.
    (out / "decision").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StartupError, match="cannot be written: Not a directory"):
        export_for_triton(source, repository, out, "cpu")
    assert [path.name for path in out.iterdir()] == ["decision"]

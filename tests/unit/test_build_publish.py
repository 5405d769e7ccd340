"""A version is published whole or not at all, and never over another one."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from model_build.publish import (
    find_build,
    locked,
    publish,
    publish_again,
    remove_leftovers,
)
from serving.errors import StartupError
from serving.models.manifest import ArtifactRecord, ModelManifest, sha256_of
from serving.models.repository import ModelRepository

MODEL = "ranker"


def manifest_of(folder: Path, version: int, build_key: str) -> ModelManifest:
    path = folder / "model.onnx"
    return ModelManifest(
        model=MODEL,
        version=version,
        build_key=build_key,
        inputs=(),
        outputs=(),
        max_batch_size=1,
        served_artifact="onnx",
        artifacts=(
            ArtifactRecord(
                kind="onnx",
                path=path.name,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
            ),
        ),
        tools={},
        data_name="none",
        data_digest="",
        seed=0,
        metrics={},
        parity=(),
        train_seconds=0.0,
        published_at_ms=1,
    )


def filling(content: bytes, build_key: str = "key") -> Callable[[Path, int], ModelManifest]:
    def fill(draft: Path, version: int) -> ModelManifest:
        (draft / "model.onnx").write_bytes(content)
        return manifest_of(draft, version, build_key)

    return fill


def drafts(repository: Path) -> list[Path]:
    return [path for path in (repository / MODEL).iterdir() if path.name.startswith(".")]


def content_of(repository: Path, version: int) -> bytes:
    return (repository / MODEL / str(version) / "model.onnx").read_bytes()


def test_versions_count_up_and_older_ones_stay_as_they_were(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        assert publish(tmp_path, MODEL, filling(b"v%d" % number)).version == number
    known = ModelRepository(tmp_path)
    assert known.versions(MODEL) == [1, 2, 3]
    assert [content_of(tmp_path, n) for n in (1, 2, 3)] == [b"v1", b"v2", b"v3"]
    for number in (1, 2, 3):
        known.version(MODEL, number).verify()
    assert drafts(tmp_path) == []


def test_a_gap_is_not_filled_and_strangers_are_not_counted(tmp_path: Path) -> None:
    for name in ("1", "7", "old", "007x"):
        (tmp_path / MODEL / name).mkdir(parents=True)
    (tmp_path / MODEL / "9").write_text("a file")
    assert publish(tmp_path, MODEL, filling(b"x")).version == 8


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    publish(tmp_path, MODEL, filling(b"good"))

    def fail(draft: Path, version: int) -> ModelManifest:
        (draft / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, MODEL, fail)
    assert ModelRepository(tmp_path).versions(MODEL) == [1]
    assert drafts(tmp_path) == []


def copying(source: Path) -> Callable[[Path, int], ModelManifest]:
    def fill(draft: Path, version: int) -> ModelManifest:
        shutil.copyfile(source, draft / "model.onnx")
        return manifest_of(draft, version, "key")

    return fill


@pytest.mark.parametrize("copied", [False, True])
def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path, copied: bool) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 4096)
    # A bound on the size of files fails a write just as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        named = rf"^{tmp_path}/{MODEL}\S*: cannot be written: File too large"
        with pytest.raises(StartupError, match=named):
            publish(tmp_path, MODEL, copying(source) if copied else filling(b"x" * 4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert ModelRepository(tmp_path).versions(MODEL) == []
    assert drafts(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / MODEL).write_text("a file where the folder belongs")
    with pytest.raises(StartupError, match=f"{tmp_path}/{MODEL}: cannot be written"):
        publish(tmp_path, MODEL, filling(b"x"))
    with (
        pytest.raises(StartupError, match=f"{tmp_path}/{MODEL}: cannot be used"),
        locked(tmp_path / MODEL),
    ):
        pass


KILLED_IN_THE_MIDDLE = """
    import pathlib, sys, threading
    from model_build.publish import locked, publish

    def fill(draft, version):
        (draft / "model.onnx").write_bytes(b"half of it")
        print("in the middle", flush=True)
        threading.Event().wait()

    repository = pathlib.Path(sys.argv[1])
    with locked(repository):
        publish(repository, "ranker", fill)
"""


def test_a_killed_build_publishes_nothing_and_is_cleared_up_by_the_next(tmp_path: Path) -> None:
    publish(tmp_path, MODEL, filling(b"good"))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED_IN_THE_MIDDLE), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        with pytest.raises(StartupError, match="another build is under way"), locked(tmp_path):
            pass
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert ModelRepository(tmp_path).versions(MODEL) == [1]
    (left,) = drafts(tmp_path)
    with locked(tmp_path):
        assert remove_leftovers(tmp_path) == [left]
        assert publish(tmp_path, MODEL, filling(b"better")).version == 2
    assert drafts(tmp_path) == []
    assert content_of(tmp_path, 1) == b"good"


def test_an_older_build_is_published_again_without_its_bytes_being_stored_twice(
    tmp_path: Path,
) -> None:
    publish(tmp_path, MODEL, filling(b"first", "a"))
    publish(tmp_path, MODEL, filling(b"second", "b"))
    assert find_build(tmp_path, MODEL, "a") == 1
    again = publish_again(tmp_path, MODEL, 1, now_ms=99)
    assert (again.version, again.build_key, again.published_at_ms) == (3, "a", 99)
    assert ModelRepository(tmp_path).latest(MODEL).manifest == again
    assert content_of(tmp_path, 3) == b"first"
    one, three = (tmp_path / MODEL / n / "model.onnx" for n in ("1", "3"))
    assert one.samefile(three)
    assert find_build(tmp_path, MODEL, "a") == 3
    assert find_build(tmp_path, MODEL, "c") is None


def test_a_damaged_build_is_neither_found_nor_published_again(tmp_path: Path) -> None:
    publish(tmp_path, MODEL, filling(b"first", "a"))
    publish(tmp_path, MODEL, filling(b"other", "b"))
    (tmp_path / MODEL / "1" / "model.onnx").write_bytes(b"FIRST")
    with pytest.raises(StartupError, match=r"1/model\.onnx: corrupt"):
        publish_again(tmp_path, MODEL, 1, now_ms=5)
    assert ModelRepository(tmp_path).versions(MODEL) == [1, 2]
    (tmp_path / MODEL / "1" / "model.onnx").unlink()
    assert find_build(tmp_path, MODEL, "a") is None
    (tmp_path / MODEL / "2" / "manifest.json").write_text("{")
    assert find_build(tmp_path, MODEL, "b") is None

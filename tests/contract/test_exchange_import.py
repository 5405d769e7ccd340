"""Importing from a registry, once and by following an alias: what is published, and when not."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_build.exchange.mlflow_import import Imported, import_version
from model_build.exchange.mlflow_uri import MlflowUri
from model_build.exchange.mlflow_watch import LONGEST_PAUSE_S, AliasWatch
from model_build.publish import locked
from serving.errors import (
    FailedPrecondition,
    InvalidRequest,
    StartupError,
    Unavailable,
)
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from tests.fakes.mlflow import FakeMlflow
from tests.small_versions import publish_candidates, publish_decision

pytestmark = pytest.mark.contract

CHAMPION = MlflowUri(name="shop decision", alias="champion")
NAME = CHAMPION.name


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Two versions of `decision` that somebody else has built."""
    made = tmp_path / "theirs"
    publish_decision(made, 0.25)
    publish_decision(made, 0.75)
    return made


@pytest.fixture
def server(theirs: Path) -> Iterator[FakeMlflow]:
    with FakeMlflow() as fake:
        for version in (1, 2):
            fake.add(NAME, version, theirs / "decision" / str(version))
        fake.aliases[NAME, "champion"] = 1
        yield fake


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return tmp_path / "ours"


def run_import(server: FakeMlflow, ours: Path, uri: MlflowUri = CHAMPION) -> Imported:
    registry = server.registry()
    return import_version(registry, registry.find(uri), ours)


def published(ours: Path) -> list[int]:
    folder = ours / "decision"
    if folder.is_dir():
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return ModelRepository(ours).versions("decision")


# ---- imports ------------------------------------------------------------------------------------


def test_a_version_is_published_with_its_origin(
    server: FakeMlflow, theirs: Path, ours: Path
) -> None:
    # MLflow's own files beside ours are nobody's business.
    server.versions[NAME, 1].files["MLmodel"] = b"flavors: {}"
    imported = run_import(server, ours)
    assert imported.new
    version = ModelRepository(ours).version("decision", 1)
    version.verify()
    origin = version.manifest.origin
    assert origin is not None
    assert (origin.registry, origin.name, origin.version, origin.run_id) == (
        server.url,
        NAME,
        1,
        "run-1",
    )
    source = ModelManifest.read(theirs / "decision" / "1")
    assert version.manifest.published_at_ms > source.published_at_ms
    same = {"published_at_ms": 0, "origin": None}
    assert version.manifest.model_copy(update=same) == source.model_copy(update=same)
    assert sorted(path.name for path in version.folder.iterdir()) == [
        "features.json",
        "manifest.json",
        "model.onnx",
    ]
    # A repository that was empty can be served.
    assert (ours / "decision" / "config.pbtxt").is_file()


def test_the_same_version_again_publishes_and_downloads_nothing(
    server: FakeMlflow, ours: Path
) -> None:
    run_import(server, ours)
    server.paths.clear()
    again = run_import(server, ours)
    assert (again.new, again.manifest.version) == (False, 1)
    assert server.fetched() == ["manifest.json"]
    other = run_import(server, ours, MlflowUri(name=NAME, version=2))
    assert (other.new, other.manifest.version) == (True, 2)
    # Back to the first: it is here, though no longer the newest.
    assert run_import(server, ours).manifest.version == 1
    assert published(ours) == [1, 2]


def test_a_version_that_was_built_here_is_not_published_again(
    server: FakeMlflow, theirs: Path
) -> None:
    imported = run_import(server, theirs)
    assert (imported.new, imported.manifest.version) == (False, 1)
    assert published(theirs) == [1, 2]


def test_a_version_goes_behind_those_that_are_here(server: FakeMlflow, ours: Path) -> None:
    for propensity in (0.1, 0.2, 0.3):
        publish_decision(ours, propensity)
    (ours / "decision" / "config.pbtxt").write_text("# tuned by hand\n")
    assert run_import(server, ours).manifest.version == 4
    assert (ours / "decision" / "config.pbtxt").read_text() == "# tuned by hand\n"


# ---- refused ------------------------------------------------------------------------------------


def refused(server: FakeMlflow, ours: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        run_import(server, ours)
    assert published(ours) == []
    prefix = f"mlflow:/{NAME}/1: "
    assert caught.value.message.startswith(prefix)
    return caught.value.message.removeprefix(prefix)


def test_a_changed_file_publishes_nothing(server: FakeMlflow, ours: Path) -> None:
    files = server.versions[NAME, 1].files
    files["features.json"] = b"[]"
    assert refused(server, ours).startswith("features.json: corrupt: ")
    files["features.json"] = b"{"
    assert refused(server, ours) == "features.json: has 1 bytes, manifest.json says 2"
    files["features.json"] = b"{} and much more"
    assert refused(server, ours) == "features.json: is larger than 2 bytes"


def test_a_missing_file_publishes_nothing(server: FakeMlflow, ours: Path) -> None:
    files = server.versions[NAME, 1].files
    del files["features.json"]
    assert refused(server, ours) == "features.json: is not among its artifacts"
    del files["manifest.json"]
    assert refused(server, ours) == "manifest.json: is not among its artifacts"


def test_what_is_no_manifest_publishes_nothing(server: FakeMlflow, ours: Path) -> None:
    files = server.versions[NAME, 1].files
    files["manifest.json"] = b'{"model": "decision"}'
    assert refused(server, ours) == "manifest.json: version: Field required"
    files["manifest.json"] = b"\0"
    assert refused(server, ours).startswith("manifest.json: (file): Invalid JSON")


def test_a_graph_with_other_tensors_publishes_nothing(
    server: FakeMlflow, ours: Path, tmp_path: Path
) -> None:
    """Its manifest lies: the digests are right, the graph is another model's."""
    publish_candidates(tmp_path)
    graph = tmp_path / "candidates" / "1" / "model.onnx"
    source = ModelManifest.read(tmp_path / "theirs" / "decision" / "1")
    stranger = ModelManifest.read(graph.parent).artifacts[0]
    lying = source.model_copy(update={"artifacts": (stranger, *source.artifacts[1:])})
    files = server.versions[NAME, 1].files
    files["manifest.json"] = lying.model_dump_json().encode()
    files["model.onnx"] = graph.read_bytes()
    assert refused(server, ours).startswith("model.onnx: does not run as the spec says: ")


def test_a_broken_transfer_publishes_nothing(server: FakeMlflow, ours: Path) -> None:
    server.broken.add("model.onnx")
    with pytest.raises(Unavailable, match=f"^{server.url}: "):
        run_import(server, ours)
    assert published(ours) == []
    server.broken.clear()
    assert run_import(server, ours).new


def test_another_build_under_way_is_not_disturbed(server: FakeMlflow, ours: Path) -> None:
    with locked(ours), pytest.raises(StartupError, match="another build is under way"):
        run_import(server, ours)
    assert published(ours) == []


def test_two_at_once_publish_once(server: FakeMlflow, ours: Path) -> None:
    """The second is faster: it publishes while the first downloads."""
    second: list[Imported] = []

    def overtake(path: str) -> None:
        if path.endswith("features.json") and not second:
            server.before = lambda _: None
            second.append(run_import(server, ours))

    server.before = overtake
    first = run_import(server, ours)
    assert [imported.new for imported in (first, *second)] == [False, True]
    assert published(ours) == [1]


def test_a_place_that_cannot_be_written_is_named(server: FakeMlflow, ours: Path) -> None:
    ours.mkdir()
    (ours / "decision").write_text("a file where the folder belongs")
    with pytest.raises(StartupError, match=f"{ours / 'decision'}"):
        run_import(server, ours)


def test_a_full_disk_is_named_and_publishes_nothing(server: FakeMlflow, ours: Path) -> None:
    # A bound on the size of files fails a write just as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))
    try:
        with pytest.raises(StartupError, match=r"manifest\.json: cannot be written: File too"):
            run_import(server, ours)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert published(ours) == []


# ---- following an alias -------------------------------------------------------------------------


def test_an_alias_that_moves_is_followed(server: FakeMlflow, ours: Path) -> None:
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=30.0)
    first = watch.look()
    assert first.imported is not None
    assert (first.imported.new, first.pause_s) == (True, 30.0)
    assert watch.look().imported is None
    server.aliases[NAME, "champion"] = 2
    moved = watch.look().imported
    assert moved is not None
    assert (moved.new, moved.manifest.version) == (True, 2)
    server.aliases[NAME, "champion"] = 1
    back = watch.look().imported
    assert back is not None
    assert (back.new, back.manifest.version) == (False, 1)
    assert published(ours) == [1, 2]


def test_looks_come_later_while_they_fail_and_as_before_once_they_do_not(
    server: FakeMlflow, ours: Path
) -> None:
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=30.0)
    server.answer = (503, b"")
    looks = [watch.look() for _ in range(6)]
    assert all(isinstance(look.error, Unavailable) for look in looks)
    assert [look.pause_s for look in looks] == [30, 60, 120, 240, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    server.answer = None
    back = watch.look()
    assert (back.recovered, back.error, back.pause_s) == (True, None, 30.0)
    assert back.imported is not None
    assert not watch.look().recovered
    server.answer = (503, b"")
    assert watch.look().pause_s == 30.0


def test_a_long_period_is_not_shortened_by_failures(server: FakeMlflow, ours: Path) -> None:
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=3600.0)
    server.answer = (503, b"")
    assert [watch.look().pause_s for _ in range(3)] == [3600.0] * 3


def test_an_alias_may_be_set_after_the_watch_began(server: FakeMlflow, ours: Path) -> None:
    del server.aliases[NAME, "champion"]
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=1.0)
    assert isinstance(watch.look().error, FailedPrecondition)
    server.aliases[NAME, "champion"] = 2
    look = watch.look()
    assert look.recovered
    assert look.imported is not None


def test_a_version_that_cannot_be_served_is_tried_once(server: FakeMlflow, ours: Path) -> None:
    server.versions[NAME, 1].files["features.json"] = b"[]"
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=1.0)
    assert isinstance(watch.look().error, InvalidRequest)
    server.paths.clear()
    quiet = watch.look()
    assert (quiet.imported, quiet.error, quiet.recovered) == (None, None, False)
    assert server.fetched() == []
    server.aliases[NAME, "champion"] = 2
    moved = watch.look().imported
    assert moved is not None
    assert moved.new


def test_a_broken_transfer_is_tried_again(server: FakeMlflow, ours: Path) -> None:
    server.broken.add("model.onnx")
    watch = AliasWatch(server.registry(), CHAMPION, ours, period_s=1.0)
    assert isinstance(watch.look().error, Unavailable)
    server.broken.clear()
    imported = watch.look().imported
    assert imported is not None
    assert imported.new

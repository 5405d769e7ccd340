"""Versions that are damaged, and a disk that is full at publishing, while customers talk."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from tests.admin_relay import AdminRelay
from tests.damaged_versions import publish_with
from tests.fakes.mlflow import FakeMlflow
from tests.promotable import MODEL, Load, Promotable, wait

pytestmark = pytest.mark.integration

CORRUPT = "corrupt: its SHA-256 differs from the one in manifest.json"
NO_MODEL = b"this is no model"
# Less than a version takes.
LEFT_BYTES = 20 * 2**20


def served_file(promotable: Promotable, version: int) -> Path:
    """What Triton loads of a version."""
    folder = promotable.folder(version)
    manifest = ModelManifest.read(folder)
    return folder / next(a.path for a in manifest.artifacts if a.kind == manifest.served_artifact)


def damage(path: Path) -> None:
    """Other bytes under the same name; versions share what is the same."""
    path.unlink()
    path.write_bytes(NO_MODEL)


def test_a_file_that_is_not_the_manifests_is_refused_before_anything_is_done(
    promotable: Promotable, customers: Load, old: int
) -> None:
    bad = promotable.publish()
    damage(served_file(promotable, bad))
    began_s = time.monotonic()
    revision = promotable.shown().revision
    refused = promotable.run("promote", MODEL, bad)
    assert (refused.code, f"/{bad}/model.onnx: {CORRUPT}" in refused.errors) == (1, True), refused
    assert promotable.shown().revision == revision
    assert f" {bad} published " in promotable.take("show", MODEL)
    customers.assert_uninterrupted(began_s)


def test_a_file_that_is_changed_after_it_was_staged_is_not_loaded(
    promotable: Promotable, customers: Load, old: int
) -> None:
    bad = promotable.publish()
    began_s = time.monotonic()
    promotable.take("stage", MODEL, bad)
    damage(served_file(promotable, bad))
    refused = promotable.run("promote", MODEL, bad)
    assert (refused.code, f"/{bad}/model.onnx: {CORRUPT}" in refused.errors) == (1, True), refused
    assert_withdrawn(promotable, bad, old, CORRUPT)
    customers.assert_uninterrupted(began_s)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        pytest.param("model.onnx", NO_MODEL, "Triton cannot load it: ", id="no model"),
        pytest.param("labels.json", b"{", "labels.json: not JSON", id="no labels"),
    ],
)
def test_a_version_that_cannot_be_loaded_is_withdrawn_with_the_reason(
    promotable: Promotable, customers: Load, old: int, file: str, content: bytes, why: str
) -> None:
    bad = publish_with(promotable.repository, MODEL, old, {file: content})
    began_s = time.monotonic()
    refused = promotable.run("promote", MODEL, bad)
    assert (refused.code, why in refused.errors) == (1, True), refused
    assert_withdrawn(promotable, bad, old, why)
    customers.assert_uninterrupted(began_s)


def test_what_a_killed_promotion_could_not_have_loaded_is_explained_until_it_is_withdrawn(
    promotable: Promotable, customers: Load, old: int
) -> None:
    bad = publish_with(promotable.repository, MODEL, old, {"model.onnx": NO_MODEL})
    why = "Triton cannot load it: "
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, "after", "shadow") as relay,
        promotable.start("promote", MODEL, bad, "--address", relay.address) as promotion,
    ):
        relay.wait()
        promotion.kill()
    wait(lambda: why in "".join(promotable.status(bad).faults.values()))
    shown = promotable.take("show", MODEL)
    assert f" {bad} shadow - " in shown
    assert why in shown
    refused = promotable.run("promote", MODEL, bad)
    assert (refused.code, why in refused.errors) == (1, True), refused
    # It was a shadow before, and that is for whoever made it one to end.
    assert promotable.status(bad).stage == "shadow"
    promotable.take("rollback", MODEL)
    assert promotable.status(bad).stage == "staged"
    assert promotable.live() == old
    customers.assert_uninterrupted(began_s)


def assert_withdrawn(promotable: Promotable, bad: int, old: int, why: str) -> None:
    shown = promotable.take("show", MODEL)
    assert f" {bad} staged " in shown
    assert f" {old} live " in shown
    # The last step, with its reason.
    with promotable.client() as client:
        (last,) = client.list_model_steps(MODEL, limit=1, deadline_ms=5_000.0).steps
    assert (last.action, last.author, last.live) == ("rollback", "ada", old)
    assert "(withdrawn: " in last.reason
    assert why in last.reason
    assert "(withdrawn: " in shown


def test_a_live_version_that_is_damaged_is_stood_in_for_when_its_host_restarts(
    promotable: Promotable, customers: Load, old: int
) -> None:
    new = promotable.publish()
    promotable.take("promote", MODEL, new)
    damage(served_file(promotable, new))
    began_s = time.monotonic()
    # What is loaded answers on; only a server that starts anew reads the file.
    wait(lambda: len(customers.since(began_s)) > 20)
    customers.assert_uninterrupted(began_s)
    for server in promotable.stack.tritonservers():
        server.send_signal(signal.SIGKILL)

    def stood_in_for() -> bool:
        return (old, "standby") in {(told.version, told.arm) for told in customers.answers[-20:]}

    wait(stood_in_for)
    back_s = time.monotonic()
    wait(lambda: CORRUPT in "".join(promotable.status(new).faults.values()))
    shown = promotable.take("show", MODEL)
    assert f" {new} live - " in shown
    assert "corrupt" in shown
    promotable.take("rollback", MODEL)
    rolled_back_s = time.monotonic()
    wait(lambda: len(customers.since(rolled_back_s + 1.0)) > 20)
    told = customers.since(rolled_back_s + 1.0)
    assert {(t.version, t.arm) for t in told} == {(old, "live")}
    customers.assert_uninterrupted(back_s)


def test_a_disk_that_is_full_at_publishing_leaves_everything_as_it_was(
    promotable: Promotable, customers: Load, old: int, tmp_path: Path
) -> None:
    if not os.path.ismount(promotable.repository):
        pytest.skip("no small file system could be mounted for the repository")
    theirs = tmp_path / "theirs"
    shutil.copytree(promotable.folder(old), theirs)
    manifest = ModelManifest.read(theirs)
    manifest.model_copy(update={"seed": manifest.seed + 1}).write(theirs)
    folder = promotable.repository / MODEL
    models = ModelRepository(promotable.repository)
    before = models.versions(MODEL)
    filler = promotable.repository / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(
            file.fileno(), 0, shutil.disk_usage(promotable.repository).free - LEFT_BYTES
        )
    with FakeMlflow() as registry:
        registry.add(MODEL, 1, theirs)
        began_s = time.monotonic()
        importing = (
            *("import", f"mlflow:/{MODEL}/1", "--registry", registry.url),
            *("--repository", promotable.repository),
        )
        refused = promotable.run(*importing)
        assert refused.code == 2
        assert f"{folder}/.new-" in refused.errors
        assert "cannot be written: No space left on device" in refused.errors
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
        assert models.versions(MODEL) == before
        assert {status.version for status in promotable.shown().versions} == set(before)

        filler.unlink()
        promotable.take(*importing)
    assert models.versions(MODEL) == [*before, before[-1] + 1]
    assert promotable.status(before[-1] + 1).stage == "published"
    assert promotable.live() == old
    customers.assert_uninterrupted(began_s)

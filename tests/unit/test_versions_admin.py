"""Steps of versions as an admin takes them: what is published and what is ready decides."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from serving.errors import (
    CartwrightError,
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    StartupError,
)
from serving.models.manifest import ArtifactRecord, sha256_of
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.triton.records import HostRecord, HostState
from serving.versions.admin import Action, Change, ModelAdmin, ModelState
from serving.versions.lineup import StepRefused
from serving.versions.readiness import REPLICA
from serving.versions.resident import AUTHOR, adopt_newest, resident_versions
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate, Outcome, Verdict
from tests.model_admin import model_admin
from tests.tiny_models import manifest

MODEL = "add"


class Bench:
    """A repository with versions 1 to 3, a store in which 1 is live, and hosts."""

    def __init__(self, folder: Path) -> None:
        self.models = ModelRepository(folder / "models")
        for version in (1, 2, 3):
            self.publish(version)
        self.store = VersionStore(folder / FILE_NAME)
        self.hosts: list[HostRecord] = [host("a", 1), host("b", 1)]
        self.faults: dict[ModelVersion, str] = {}
        self.opened = {ModelVersion(MODEL, version) for version in (1, 2, 3)}
        self.folder = folder
        self.admin = self.admin_with()
        self.take(Action.STAGE, 1)
        self.take(Action.PROMOTE, 1)

    def admin_with(self, *gates: Gate) -> ModelAdmin:
        return model_admin(
            self.folder,
            self.models.root,
            (MODEL,),
            self.hosts_now,
            lambda: self.opened,
            lambda: self.faults,
            gates,
        )

    def hosts_now(self) -> Sequence[HostRecord]:
        return self.hosts

    def publish(self, version: int) -> Path:
        folder = self.models.root / MODEL / str(version)
        folder.mkdir(parents=True)
        path = folder / "model.onnx"
        path.write_bytes(b"weights")
        record = ArtifactRecord(kind="onnx", path=path.name, sha256=sha256_of(path), size_bytes=7)
        manifest(MODEL, version=version, artifacts=(record,)).write(folder)
        return path

    def take(self, action: Action, version: int = 0, **more: object) -> ModelState:
        values: dict[str, object] = {"author": "ada", "reason": "to see", **more}
        return self.admin.change(
            Change(model=MODEL, action=action, version=version, **values)  # type: ignore[arg-type]
        )

    def stages(self) -> dict[int, str]:
        return {state.version: state.stage for state in self.admin.show(MODEL).versions}


def host(host_id: str, *versions: int, **faults: str) -> HostRecord:
    return HostRecord(
        host_id=host_id,
        state=HostState.READY,
        ready_models={MODEL: versions},
        faults={f"{MODEL}/{number[1:]}": why for number, why in faults.items()},
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_version_goes_live_step_by_step_and_back(bench: Bench) -> None:
    assert bench.stages() == {1: "live", 2: "published", 3: "published"}
    bench.take(Action.STAGE, 2)
    bench.take(Action.SHADOW, 2)
    bench.hosts = [host("a", 1, 2), host("b", 1, 2)]
    assert bench.stages() == {1: "live", 2: "shadow", 3: "published"}
    state = bench.take(Action.CANARY, 2, canary_percent=10.0)
    assert state.lineup.canary_percent == 10.0
    assert state.entry is not None
    assert state.entry.action == "canary 2 10%"
    assert bench.stages()[2] == "canary"
    bench.take(Action.PROMOTE, 2)
    assert bench.stages() == {1: "previous", 2: "live", 3: "published"}
    bench.take(Action.ROLLBACK)
    assert bench.stages() == {1: "live", 2: "staged", 3: "published"}


@pytest.mark.parametrize("action", [Action.CANARY, Action.PROMOTE])
@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ([host("a", 1, 2), host("b", 1)], r"\(b: not loaded yet\)"),
        ([host("a", 1, 2), host("b", 1, v2="no memory")], r"\(b: no memory\)"),
        ([HostRecord(host_id="a", state=HostState.DOWN)], "no host is ready"),
    ],
)
def test_what_is_not_ready_everywhere_answers_nobody(
    bench: Bench, action: Action, hosts: list[HostRecord], why: str
) -> None:
    bench.take(Action.STAGE, 2)
    bench.take(Action.SHADOW, 2)
    bench.hosts = hosts
    with pytest.raises(StepRefused, match=why):
        bench.take(action, 2, canary_percent=5.0)
    assert bench.stages()[2] == "shadow"
    forced = bench.take(action, 2, canary_percent=5.0, force=True)
    assert forced.entry is not None
    assert forced.entry.forced


def test_a_host_that_is_down_keeps_nobody_from_going_on(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    bench.hosts = [host("a", 1, 2), HostRecord(host_id="b", state=HostState.DOWN)]
    bench.take(Action.PROMOTE, 2)
    assert bench.stages()[2] == "live"


def test_files_that_a_replica_cannot_read_keep_a_version_from_answering(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    bench.hosts = [host("a", 1, 2)]
    bench.opened.remove(ModelVersion(MODEL, 2))
    with pytest.raises(StepRefused, match="replica: not open yet"):
        bench.take(Action.PROMOTE, 2)
    bench.faults = {ModelVersion(MODEL, 2): "labels.json: not JSON"}
    with pytest.raises(StepRefused, match=r"replica: labels\.json: not JSON"):
        bench.take(Action.PROMOTE, 2)
    (shown,) = [v for v in bench.admin.show(MODEL).versions if v.version == 2]
    assert shown.faults == {REPLICA: "labels.json: not JSON"}


def test_a_withdrawal_asks_nobody(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    bench.take(Action.SHADOW, 2)
    bench.hosts = []
    bench.take(Action.ROLLBACK)
    assert bench.stages()[2] == "staged"


def test_only_what_is_published_and_whole_is_staged(bench: Bench) -> None:
    with pytest.raises(FailedPrecondition, match="version 9 is not published"):
        bench.take(Action.STAGE, 9)
    (bench.models.root / MODEL / "2" / "model.onnx").write_bytes(b"other")
    with pytest.raises(FailedPrecondition, match="corrupt"):
        bench.take(Action.STAGE, 2)


def test_who_was_overtaken_is_told_by_whom(bench: Bench) -> None:
    seen = bench.admin.show(MODEL).entry
    assert seen is not None
    bench.take(Action.STAGE, 2, author="bob")
    with pytest.raises(Conflict, match="bob did 'stage 2'"):
        bench.take(Action.STAGE, 3, expected_revision=seen.revision)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (Change(model="x", action=Action.STAGE, author="a", reason="r"), NotFound, "no model 'x'"),
        (Change(model=MODEL, action=Action.STAGE, author="a", reason="r"), InvalidRequest, "vers"),
        (
            Change(model=MODEL, action=Action.STAGE, version=2, author="", reason="r"),
            InvalidRequest,
            "author",
        ),
    ],
)
def test_bad_requests_are_named(
    bench: Bench, change: Change, error: type[CartwrightError], text: str
) -> None:
    with pytest.raises(error) as caught:
        bench.admin.change(change)
    assert text in caught.value.message


def test_a_version_whose_folder_is_gone_is_shown_with_the_reason(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    folder = bench.models.root / MODEL / "2"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    (shown,) = [v for v in bench.admin.show(MODEL).versions if v.version == 2]
    assert shown.manifest is None
    assert "manifest.json: cannot be read" in shown.faults[REPLICA]


# ---- gates ---------------------------------------------------------------------------------------


def verdict(gate: Gate, outcome: Outcome, against: int | None = 1) -> Verdict:
    return Verdict(
        gate=gate,
        model=MODEL,
        version=2,
        against=against,
        outcome=outcome,
        reason="accuracy fell by 3 points.",
        examples=("where is my order",),
        at_ms=1,
        environment={},
    )


def test_a_version_that_has_not_passed_is_not_promoted_unless_forced(bench: Bench) -> None:
    bench.admin = bench.admin_with(Gate.PARITY, Gate.QUALITY)
    bench.take(Action.STAGE, 2)
    bench.hosts = [host("a", 1, 2)]
    with pytest.raises(StepRefused, match=r"parity has no verdict.*quality has no verdict"):
        bench.take(Action.PROMOTE, 2)
    bench.store.add_verdict(verdict(Gate.PARITY, Outcome.PASSED, None))
    bench.store.add_verdict(verdict(Gate.QUALITY, Outcome.FAILED))
    with pytest.raises(StepRefused, match=r"fell by 3 points\. For example: where is my order"):
        bench.take(Action.PROMOTE, 2)
    # A customer's share may be risked, everybody not.
    bench.take(Action.CANARY, 2, canary_percent=5.0)
    forced = bench.take(Action.PROMOTE, 2, force=True, reason="it is urgent")
    assert forced.entry is not None
    assert (forced.entry.forced, forced.entry.reason) == (True, "it is urgent")
    bench.take(Action.ROLLBACK)
    bench.store.add_verdict(verdict(Gate.QUALITY, Outcome.PASSED))
    bench.take(Action.PROMOTE, 2)
    assert bench.stages()[2] == "live"


def test_a_gate_that_need_not_be_asked_counts_when_it_has_failed(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    bench.hosts = [host("a", 1, 2)]
    bench.store.add_verdict(verdict(Gate.REPLAY, Outcome.FAILED))
    with pytest.raises(StepRefused, match="replay failed"):
        bench.take(Action.PROMOTE, 2)


def test_a_gate_that_need_not_be_asked_and_knows_nothing_is_in_nobodys_way(bench: Bench) -> None:
    bench.take(Action.STAGE, 2)
    bench.hosts = [host("a", 1, 2)]
    bench.store.add_verdict(verdict(Gate.REPLAY, Outcome.UNDECIDED))
    bench.take(Action.PROMOTE, 2)
    assert bench.stages()[2] == "live"


# ---- what is live when nobody has decided it -----------------------------------------------------


def test_the_newest_version_is_adopted_until_somebody_takes_a_step(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    store = VersionStore(tmp_path / "fresh.sqlite")
    adopt_newest(store, bench.models, (MODEL,))
    assert resident_versions(store.read_all()) == {MODEL: (3,)}
    bench.publish(4)
    adopt_newest(store, bench.models, (MODEL,))
    adopt_newest(store, bench.models, (MODEL,))
    newest, first = store.history(MODEL)
    assert (newest.action, newest.author, first.action) == ("adopt 4", AUTHOR, "adopt 3")
    # From here on, somebody decides.
    bench.publish(5)
    adopt_newest(bench.store, bench.models, (MODEL,))
    assert resident_versions(bench.store.read_all()) == {MODEL: (1,)}


def test_a_live_version_that_is_gone_is_refused_at_the_start(bench: Bench) -> None:
    folder = bench.models.root / MODEL / "1"
    folder.rename(folder.with_name("away"))
    with pytest.raises(StartupError, match=r"version 1 is live \(by ada\), but not published"):
        adopt_newest(bench.store, bench.models, (MODEL,))
    with pytest.raises(StartupError, match="no published version of model 'ghost'"):
        adopt_newest(bench.store, bench.models, ("ghost",))

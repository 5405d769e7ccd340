"""A rollout of a tiny model, in which the clock and the customers are told what to do."""

from collections.abc import Callable
from pathlib import Path

from serving.models.manifest import ArtifactRecord, sha256_of
from serving.models.version import ModelVersion
from serving.rollout.conductor import Conductor, Ratings
from serving.rollout.counts import ArmCounts, Counts, ShadowCounts
from serving.rollout.counts_file import FILE_NAME as COUNTS_FILE_NAME
from serving.rollout.counts_file import CountsFile
from serving.settings import RolloutSettings
from serving.triton.records import HostRecord, HostState
from serving.versions.admin import Action, Change, ModelState
from serving.versions.lineup import Lineup
from serving.versions.verdict import Gate
from tests.model_admin import model_admin
from tests.tiny_models import manifest

MODEL = "add"
SETTINGS = RolloutSettings(shares=(10.0, 50.0), min_stage_s=1.0, max_stage_s=100.0, max_load_s=10.0)


class RolloutBench:
    """A model of which version 1 is live and 2 published; the clock and customers are told."""

    def __init__(self, folder: Path, *gates: Gate) -> None:
        for version in (1, 2, 3):
            place = folder / "models" / MODEL / str(version)
            place.mkdir(parents=True)
            path = place / "model.onnx"
            path.write_bytes(b"weights")
            record = ArtifactRecord(
                kind="onnx", path=path.name, sha256=sha256_of(path), size_bytes=7
            )
            manifest(MODEL, version=version, artifacts=(record,)).write(place)
        self.ready: tuple[int, ...] = (1, 2)
        self.faults: dict[str, str] = {}
        self.ratings: Ratings = {}
        self.opened = {ModelVersion(MODEL, version) for version in (1, 2, 3)}
        self.counts = CountsFile(folder / COUNTS_FILE_NAME)
        self.total = Counts()
        self.admin = model_admin(
            folder,
            folder / "models",
            (MODEL,),
            self.hosts,
            lambda: self.opened,
            gates=gates,
            rollout=SETTINGS,
            ratings=lambda _model, _since_ms: self.ratings,
        )
        self.now_ms = 0
        self.store = self.admin.store
        live = Lineup(model=MODEL, live=1, staged=(2, 3))
        self.store.apply(MODEL, lambda _: live, action="adopt 1", author="test", reason="test")

    def hosts(self) -> list[HostRecord]:
        return [
            HostRecord(
                host_id="h",
                state=HostState.READY,
                ready_models={MODEL: self.ready},
                faults=self.faults,
            )
        ]

    def conductor(self, clock_ms: Callable[[], int] | None = None) -> Conductor:
        """Another one each time: none keeps anything to itself."""
        return Conductor(
            self.store,
            self.admin.judge,
            self.admin.readiness,
            self.admin.promotion,
            clock_ms=clock_ms or (lambda: self.now_ms),
        )

    def begin(self, version: int = 2, *, force: bool = False) -> ModelState:
        self.now_ms = self.store.history(MODEL)[0].at_ms
        return self.take(Action.ROLL_OUT, version, force=force)

    def take(self, action: Action, version: int = 0, *, force: bool = False) -> ModelState:
        return self.admin.change(
            Change(
                model=MODEL,
                action=action,
                version=version,
                author="ada",
                reason="to see",
                force=force,
            )
        )

    def after(self, seconds: float) -> None:
        """Somebody looks so much later."""
        self.now_ms += round(seconds * 1000)
        self.conductor().look()

    def happen(self, counts: Counts) -> None:
        """Customers come."""
        self.total = self.total.plus(counts)
        salt = self.store.read(MODEL)[0].salt
        self.counts.put("a process", {(MODEL, salt): self.total.to_json()})

    def happen_well(self) -> None:
        good = ArmCounts()
        for number in range(6000):
            good.add("Converse", 10.0 + number % 5, bad=False)
        self.happen(Counts(live=good, candidate=good, shadow=ShadowCounts(of=2000, answered=2000)))

    def last(self) -> tuple[str, str, str]:
        entry = self.store.history(MODEL)[0]
        return entry.action, entry.author, entry.reason

    @property
    def lineup(self) -> Lineup:
        return self.store.read(MODEL)[0]


def begun(bench: RolloutBench, stage: int) -> RolloutBench:
    """The rollout in a stage that counts."""
    bench.begin()
    bench.after(1.0)
    for _ in range(stage):
        bench.happen_well()
        bench.after(2.0)
    return bench

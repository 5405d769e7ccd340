"""Runs a drill: a stack, a load at a share of its peak, and switches back and forth."""

import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loadtest.bench import workloads
from loadtest.bench.load import Load, LoadGenerator, Outcome, load_generator
from loadtest.bench.texts import make_texts
from loadtest.drill.judge import Round, Span, Switch, Verdict, judge
from serving.cli.local_stack import local_stack
from serving.client import CommerceClient
from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from serving.stores.shop_reading import read_shop

MODEL = "understanding"
_TOKEN = uuid.uuid4().hex
_IN_FLIGHT = 32
_PEAK_S = 4.0
_PEAKS = 3
# A round says nothing if arrivals turn out to have been more than this much of the share that was
# asked for, by the peak after it: the machine has become slower. Another is run in its stead, up to
# so many in all for each that was asked for.
_MUCH_MORE = 1.1
_MOST_ROUNDS = 2
# Of load while versions change, one after the other without a pause.
_WINDOW_S = 5.0
_WARM_UP_S = 2.0
_DEADLINE_MS = 10_000.0
_READY_TIMEOUT_S = 120.0
# Between two looks at how far a version is.
_LOOK_S = 0.5
_TEXTS = 4096
_CUSTOMERS = 500


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long and how hard."""

    repository: Path
    shop: Path
    # Promotions; each is followed by a rollback.
    rounds: int = 20
    # Of the peak.
    share: float = 0.7
    # Before each promotion and after all of it is undone, to compare with.
    quiet_s: float = 7.0
    # After each switch; and before each quiet time, until what was left behind is done.
    settle_s: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Drill:
    """What was done, and what came of it."""

    versions: tuple[int, int]
    share: float
    # Rounds that were to be run with a load of that share.
    asked: int
    # Requests a second in a closed loop, before each round and after the last.
    peaks_per_s: tuple[float, ...]
    rounds: tuple[Round, ...]
    verdict: Verdict


def run_drill(options: Options, folder: Path, say: Callable[[str], None]) -> Drill:
    """Runs it in an empty folder; `say` is told of each step.

    Raises:
        StartupError: there is no version to drill with, or the stack does not start.
        CartwrightError: a step was refused.
    """
    repository = _linked(options.repository, folder / "models")
    old = ModelRepository(repository).latest(MODEL).manifest.version
    new = old + 1
    overrides = {
        "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(repository),
        "CARTWRIGHT_STORES__SHOP": str(options.shop.absolute()),
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_LEDGER__FOLDER": str(folder / "ledger"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_TRITON__UNLOAD_AFTER_S": "1",
        "CARTWRIGHT_SERVER__ADMIN_TOKEN": _TOKEN,
        # The drilled version is the live one again: there is nothing to judge.
        "CARTWRIGHT_VERSIONS__GATES": "[]",
    }
    with local_stack(overrides, folder) as stack, load_generator() as generator:
        say(f"stack ready after {stack.start_s:.1f} s; {MODEL} {old} is live, {new} is drilled")
        # Only now: at its first start, a stack makes the newest version live.
        _publish_again(repository, old, new)
        load = _load(stack.address, options)
        peaks: list[float] = []
        rounds: list[Round] = []
        operator = _Operator(stack.address, old, new, options)

        def measure_peak() -> None:
            # In each round, as the machine's speed moves.
            nonlocal load
            run = f"peak-{len(peaks)}"
            peak = generator.run(replace(load, seconds=_PEAK_S, run=run), _nothing)
            peaks.append(peak.requests / peak.seconds)
            load = replace(load, first=peak.next)

        measure_peak()
        while sum(one.steady for one in rounds) < options.rounds:
            if len(rounds) == _MOST_ROUNDS * options.rounds:
                break
            # One fast moment is not the machine's speed.
            rate = options.share * min(peaks[-_PEAKS:])
            arrivals = replace(load, rate=rate, each=True)
            outcomes = _while(operator.run, generator, arrivals, f"round-{len(rounds)}")
            load = replace(load, first=outcomes[-1].next)
            measure_peak()
            steady = rate <= _MUCH_MORE * options.share * peaks[-1]
            rounds.append(operator.told(rate, outcomes, steady=steady))
            say(f"round {len(rounds)}: {rounds[-1].text}")
    return Drill(
        versions=(old, new),
        share=options.share,
        asked=options.rounds,
        peaks_per_s=tuple(peaks),
        rounds=tuple(rounds),
        verdict=judge(rounds, MODEL),
    )


class _Operator:
    """Promotes and rolls back, and keeps what it took. `run` is called from a thread."""

    def __init__(self, address: str, old: int, new: int, options: Options) -> None:
        self._address = address
        self._old = old
        self._new = new
        self._options = options
        self._switches: list[Switch] = []
        self._quiet: tuple[Span, Span]
        self._promotion_s = self._rollback_s = 0.0

    def run(self) -> None:
        """One round under load."""
        options = self._options
        self._switches = []
        with CommerceClient(self._address, channels=1, token=_TOKEN) as client:
            before = self._rest()
            self._promotion_s = _promote(client, self._new, self._switches)
            time.sleep(options.settle_s)
            self._rollback_s = _roll_back(client, self._old, self._switches)
            time.sleep(options.settle_s)
            # The next promotion loads it as this one did.
            _wait_until_unloaded(client, self._new)
            self._quiet = before, self._rest()

    def _rest(self) -> Span:
        time.sleep(self._options.settle_s)
        began_s = time.time()
        time.sleep(self._options.quiet_s)
        return began_s, time.time()

    def told(self, rate_per_s: float, outcomes: Sequence[Outcome], *, steady: bool) -> Round:
        """The round that was just run, with what came back meanwhile."""
        errors: Counter[str] = Counter()
        for outcome in outcomes:
            errors.update(outcome.errors)
        return Round(
            rate_per_s=rate_per_s,
            steady=steady,
            quiet=self._quiet,
            switches=tuple(self._switches),
            promotion_s=self._promotion_s,
            rollback_s=self._rollback_s,
            answers=tuple(answer for outcome in outcomes for answer in outcome.answers),
            refused_at_s=tuple(at_s for outcome in outcomes for at_s in outcome.refused_at_s),
            errors=dict(+errors),
        )


def _while(
    work: Callable[[], None], generator: LoadGenerator, load: Load, run: str
) -> list[Outcome]:
    """Loads for as long as `work` takes, in windows of some seconds without a pause between."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    outcomes = []
    while thread.is_alive():
        load = replace(load, seconds=_WINDOW_S, warm_up_s=0.2, run=f"{run}-{len(outcomes)}")
        outcomes.append(generator.run(load, _nothing))
        load = replace(load, first=outcomes[-1].next)
    thread.join()
    if failed:
        raise failed[0]
    return outcomes


def _wait_until_unloaded(client: CommerceClient, version: int) -> None:
    give_up_s = time.monotonic() + _READY_TIMEOUT_S
    while True:
        shown = client.show_model(MODEL, deadline_ms=_DEADLINE_MS)
        if not any(one.ready_host_ids for one in shown.versions if one.version == version):
            return
        if time.monotonic() > give_up_s:
            raise StartupError(f"version {version}: not unloaded in time")
        time.sleep(_LOOK_S)


def _promote(client: CommerceClient, version: int, switches: list[Switch]) -> float:
    began_s = time.monotonic()
    _step(client, "shadow", version)
    give_up_s = time.monotonic() + _READY_TIMEOUT_S
    while True:
        shown = client.show_model(MODEL, deadline_ms=_DEADLINE_MS)
        (status,) = [one for one in shown.versions if one.version == version]
        if status.faults:
            raise StartupError(f"version {version}: {dict(status.faults)}")
        waiting = set(shown.serving_host_ids) - set(status.ready_host_ids)
        if shown.serving_host_ids and status.open and not waiting:
            break
        if time.monotonic() > give_up_s:
            raise StartupError(f"version {version}: not ready in time")
        time.sleep(_LOOK_S)
    _step(client, "promote", version)
    switches.append(Switch(at_s=time.time(), action="promote", version=version))
    return time.monotonic() - began_s


def _roll_back(client: CommerceClient, version: int, switches: list[Switch]) -> float:
    began_s = time.monotonic()
    _step(client, "rollback", 0)
    switches.append(Switch(at_s=time.time(), action="rollback", version=version))
    return time.monotonic() - began_s


def _step(client: CommerceClient, action: str, version: int) -> None:
    shown = client.show_model(MODEL, deadline_ms=_DEADLINE_MS)
    stages = {one.version: one.stage for one in shown.versions}
    if stages.get(version) == "published":
        _change(client, "stage", version)
    _change(client, action, version)


def _change(client: CommerceClient, action: str, version: int) -> None:
    client.change_model(
        MODEL,
        action,
        version=version,
        author="drill",
        reason="promotion drill",
        deadline_ms=_DEADLINE_MS,
    )


def _linked(source: Path, repository: Path) -> Path:
    """A repository of one's own, with links to the versions of another."""
    models = ModelRepository(source)
    for model in source.iterdir():
        if not (model / "config.pbtxt").is_file():
            continue
        (repository / model.name).mkdir(parents=True)
        shutil.copy(model / "config.pbtxt", repository / model.name)
        for version in models.versions(model.name):
            (repository / model.name / str(version)).symlink_to(
                (model / str(version)).absolute(), target_is_directory=True
            )
    return repository


def _publish_again(repository: Path, old: int, new: int) -> None:
    """The same artifact under another number."""
    copied = repository / MODEL / str(new)
    shutil.copytree(repository / MODEL / str(old), copied)
    ModelManifest.read(copied).model_copy(update={"version": new}).write(copied)


def _load(address: str, options: Options) -> Load:
    texts = list(make_texts(_TEXTS, 7).texts)
    rng = np.random.default_rng(7)
    customers = sorted({order.customer_id for order in read_shop(options.shop).orders})
    chosen = rng.permutation(customers)[:_CUSTOMERS].tolist()
    return Load(
        address=address,
        workload=workloads.converse(texts, chosen),
        in_flight=_IN_FLIGHT,
        seconds=options.quiet_s,
        warm_up_s=_WARM_UP_S,
        run="peak",
    )


def _nothing() -> None:
    """Nobody counts CPU here."""

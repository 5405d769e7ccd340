"""One set of quickly built models and one running stack for all integration tests."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from serving.cli.local_stack import LocalStack, local_stack
from serving.client import CommerceClient
from serving.models.repository import ModelRepository
from serving.telemetry.receiver import SpanReceiver
from tests.promotable import Load, Promotable
from tests.small_disk import CannotMount, limited_disk

ROOT = Path(__file__).parents[2]
# Kept between runs: nothing is built again that is there already.
BUILT = ROOT / "var" / "test"
# Room for one version of each model and some more large ones.
_PROMOTABLE_MIB = 768


@dataclass(frozen=True)
class BuiltModels:
    """Models and shop of the `quick` profile."""

    repository: Path
    shop: Path
    # Weights of `understanding`, by model.
    checkpoints: Path

    def environment(self) -> dict[str, str]:
        """Settings that point a stack at them."""
        return {
            "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(self.repository),
            "CARTWRIGHT_STORES__SHOP": str(self.shop),
            # Nobody calls a stack that is being stopped.
            "CARTWRIGHT_SERVER__DRAIN_S": "0.2",
        }


@pytest.fixture(scope="session")
def models() -> BuiltModels:
    built = BuiltModels(BUILT / "model_repository", BUILT / "shop", BUILT / "checkpoints")
    BUILT.mkdir(parents=True, exist_ok=True)
    # Tests in another process may be building them.
    with FileLock(BUILT / "building.lock", timeout=600):
        subprocess.run(
            [
                *(sys.executable, "-m", "serving.cli.main"),
                *("models", "build", "--profile", "quick"),
                *("--repository", str(built.repository), "--shop", str(built.shop)),
                *("--checkpoints", str(built.checkpoints)),
            ],
            cwd=ROOT,
            check=True,
            timeout=600,
        )
    return built


@pytest.fixture(scope="session")
def spans() -> Iterator[SpanReceiver]:
    with SpanReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(
    models: BuiltModels, spans: SpanReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """A whole stack with every step inline."""
    folder = tmp_path_factory.mktemp("stack")
    overrides = {
        **models.environment(),
        "CARTWRIGHT_TELEMETRY__OTLP_ENDPOINT": spans.endpoint,
        "CARTWRIGHT_TELEMETRY__EXPORT_DELAY_MS": "200",
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_SERVER__RUN_FILE": str(folder / "serve.json"),
    }
    with local_stack(overrides, folder) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: LocalStack) -> Iterator[CommerceClient]:
    with CommerceClient(stack.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def promotable(
    models: BuiltModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Promotable]:
    """A stack whose versions may be changed, on a small disk where one can be mounted.

    Of the session, and not of a module: starting one takes longer than most tests of it.
    """
    folder = tmp_path_factory.mktemp("promotable")
    repository = folder / "models"
    run_file = folder / "serve.json"
    overrides = {
        **models.environment(),
        "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(repository),
        "CARTWRIGHT_TRITON__UNLOAD_AFTER_S": "2",
        "CARTWRIGHT_TRITON__LOADING_SHARE": "0.5",
        "CARTWRIGHT_TRITON__PROBE_PERIOD_S": "0.5",
        # Gates take minutes, and have tests of their own.
        "CARTWRIGHT_VERSIONS__GATES": "[]",
        # A rollout in half a minute: one canary, and larger budgets than customers would like.
        "CARTWRIGHT_VERSIONS__ROLLOUT__SHARES": "[50]",
        "CARTWRIGHT_VERSIONS__ROLLOUT__MIN_STAGE_S": "3",
        "CARTWRIGHT_VERSIONS__ROLLOUT__FAILURES": "0.05",
        "CARTWRIGHT_VERSIONS__ROLLOUT__LATE": "0.1",
        # One after the other without a rest: a rollout would wait for a quarter of them.
        "CARTWRIGHT_VERSIONS__SHADOW_SHARE": "1",
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_SERVER__RUN_FILE": str(run_file),
    }
    with ExitStack() as stack:
        with suppress(CannotMount):
            stack.enter_context(limited_disk(repository, _PROMOTABLE_MIB))
        _copy_newest(ModelRepository(models.repository), repository)
        running = stack.enter_context(local_stack(overrides, folder))
        yield Promotable(running, repository, run_file)


@pytest.fixture(scope="module")
def customers(promotable: Promotable) -> Iterator[Load]:
    """Talk during every test of a module."""
    with Load(promotable) as load:
        yield load


@pytest.fixture
def old(promotable: Promotable) -> int:
    """The live version of `promotable`; none is tried beside it."""
    promotable.settle()
    return promotable.live()


def _copy_newest(models: ModelRepository, target: Path) -> None:
    for model in models.root.iterdir():
        newest = models.latest(model.name).folder
        shutil.copytree(newest, target / model.name / newest.name)
        shutil.copy(model / "config.pbtxt", target / model.name)

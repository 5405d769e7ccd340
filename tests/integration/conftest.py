"""One set of quickly built models and one running stack for all integration tests."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.client import CommerceClient
from serving.telemetry.receiver import SpanReceiver

ROOT = Path(__file__).parents[2]
# Kept between runs: nothing is built again that is there already.
BUILT = ROOT / "var" / "test"


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
        }


@pytest.fixture(scope="session")
def models() -> BuiltModels:
    built = BuiltModels(BUILT / "model_repository", BUILT / "shop", BUILT / "checkpoints")
    subprocess.run(
        [
            *(sys.executable, "-m", "serving.cli.main", "models", "build", "--profile", "quick"),
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

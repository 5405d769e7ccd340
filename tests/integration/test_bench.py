"""The benchmark's quick form as somebody would run it: the machinery, not the numbers."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.results import Results

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "loadtest" / "bench"
# It takes under three minutes on two idle cores; others may use them too.
TIMEOUT_S = 900
VARIANTS = {
    *("Triton directly", "stack inline", "null model"),
    *("Ray Serve echo", "Ray Serve defaults", "plain grpc.aio"),
}

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Run:
    """A finished quick run."""

    done: subprocess.CompletedProcess[str]
    folder: Path

    @property
    def results(self) -> Results:
        return Results.read(self.folder / "results.json")


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(BENCH), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def run(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "page.md").write_text("# Performance\n\nprose\n")
    done = bench(
        *("run", "--quick"),
        *("--repository", str(models.repository), "--shop", str(models.shop)),
        *("--json", str(folder / "results.json")),
        *("--markdown", str(folder / "page.md"), "--plots", str(folder / "plots")),
    )
    return Run(done, folder)


def test_everything_is_measured_without_an_error(run: Run) -> None:
    assert run.done.returncode == 0, run.done.stdout[-3000:] + run.done.stderr
    points = run.results.points
    assert {point.variant for point in points} == VARIANTS
    for point in points:
        assert point.requests > 0
        assert (point.errors, point.degraded) == ({}, 0)
        assert point.refused == 0
        assert point.limit > 0
        assert 0 < point.p50_ms <= point.p90_ms <= point.p99_ms
        assert point.cpu_ms["load generator"] > 0
    inline = [point for point in points if point.variant == "stack inline"]
    assert {point.method for point in inline} == {"Understand", "Answer", "Recommend", "Converse"}
    assert {point.load for point in inline} == {"closed", "open"}


def test_cpu_is_known_by_process_and_batches_are_counted(run: Run) -> None:
    points = run.results.points
    used = {kind for p in points if p.variant == "stack inline" for kind in p.cpu_ms}
    assert {"replica", "tritonserver", "HAProxy", "model understanding"} <= used
    assert "Ray: proxy" in {
        k for p in points if p.variant == "Ray Serve defaults" for k in p.cpu_ms
    }
    assert "other" not in used
    (eight,) = [p for p in points if p.method == "batch 8"]
    assert eight.batch_sizes["understanding"] >= 8.0
    assert {idle.variant for idle in run.results.idle} >= {"stack inline", "Ray Serve echo"}


def test_the_file_says_what_was_measured(run: Run) -> None:
    about = run.results.about
    assert about["machine"]["cores"] >= 1
    assert set(about["versions"]) >= {"ray", "onnxruntime", "grpcio"}
    assert len(about["understanding"]["sha256"]["fp32"]) == 64
    assert about["texts"]["count"] == about["options"]["texts"]
    orders = {limit.order for limit in run.results.limits}
    assert orders == {"as they come", "sorted by 64", "sorted"}


def test_tables_and_pictures_are_written_into_the_document(run: Run) -> None:
    page = (run.folder / "page.md").read_text()
    assert page.startswith("# Performance\n\nprose\n\n<!-- bench:begin -->\n")
    for title in ("Loads", "The bare work", "CPU milliseconds", "Batch sizes", "Aims"):
        assert f"### {title}" in page
    for name in ("share", "cpu", "latency"):
        assert f"](plots/{name}.png)" in page
        assert (run.folder / "plots" / f"{name}.png").stat().st_size > 10_000


def test_a_run_of_one_round_cannot_be_compared(run: Run) -> None:
    path = str(run.folder / "results.json")
    done = bench("compare", path, path)
    assert done.returncode == 1
    assert "needs two rounds" in done.stderr

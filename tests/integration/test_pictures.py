"""What is drawn is a picture. Here and not among the fast tests for Matplotlib's import alone."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model_build.tune.plot import write_plot
from serving.cli.main import cartwright
from tests.fakes.scaling import two_minutes
from tests.fakes.tuning import SimulatedHost, run_sweep, sweep_options

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

PNG = b"\x89PNG"


async def test_a_sweep_is_drawn(tmp_path: Path) -> None:
    options = sweep_options(p99_limit_ms=40.0)
    result, _ = await run_sweep(SimulatedHost(np.random.default_rng(1)), options)
    path = tmp_path / "tune.png"
    write_plot(path, "understanding", options, result)
    assert path.read_bytes().startswith(PNG)


def test_a_replay_is_drawn(tmp_path: Path) -> None:
    trace = two_minutes(tmp_path)
    picture = tmp_path / "replay.png"
    result = CliRunner().invoke(
        cartwright, ["autoscale", "replay", str(trace), "--png", str(picture)]
    )
    assert result.exit_code == 0, result.stderr
    assert picture.read_bytes().startswith(PNG)

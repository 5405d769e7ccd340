"""What a sweep prints, writes as JSON and draws."""

import io
import json

import numpy as np
from rich.console import Console

from model_build.tune.choose import pareto_front
from model_build.tune.report import document, lines, table
from model_build.tune.sweep import SweepOptions, SweepResult
from serving.cli.render import PLAIN_WIDTH
from tests.fakes.tuning import IN_USE, POINTS, SimulatedHost, run_sweep, sweep_options


async def swept(p99_limit_ms: float = 40.0) -> tuple[SweepOptions, SweepResult]:
    options = sweep_options(p99_limit_ms=p99_limit_ms)
    host = SimulatedHost(np.random.default_rng(1), broken=frozenset(POINTS[1:2]))
    result, _ = await run_sweep(host, options)
    return options, result


def printed(options: SweepOptions, result: SweepResult) -> str:
    console = Console(file=io.StringIO(), width=PLAIN_WIDTH)
    console.print(table("understanding", options, result))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


async def test_the_table_has_every_point_and_says_what_is_dominated() -> None:
    options, result = await swept()
    text = printed(options, result)
    rows = [line for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == len(result.estimates) == len(POINTS) - 1
    speeds = [float(row.split()[6]) for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    assert sum("front" in row for row in rows) == len(pareto_front(result.estimates))
    assert sum("dominated" in row for row in rows) == len(rows) - sum("front" in r for r in rows)
    assert sum("chosen" in row for row in rows) == 1
    assert sum("in use" in row for row in rows) == 1
    # Nothing is cut off at the width of a log.
    assert "…" not in text


async def test_the_band_and_the_choice_are_told() -> None:
    options, result = await swept()
    assert result.choice is not None
    text = "\n".join(lines(options, result))
    assert f"within {result.noise_band:.1%} of the fastest count as equal" in text
    assert f"left out: {POINTS[1].label}: broken on purpose" in text
    assert f"in use: {IN_USE.label}, " in text
    assert "not equivalent" in text
    chosen = result.choice.chosen.point
    assert f"chosen: {chosen.instances} instances of 1 thread, batches of up to " in text


async def test_without_a_choice_no_choice_is_told() -> None:
    options, result = await swept(p99_limit_ms=1.0)
    assert "chosen" not in "\n".join(lines(options, result))
    assert "too late" in printed(options, result)
    assert document("understanding", options, result)["chosen"] is None


async def test_the_document_is_json_and_holds_what_the_table_shows() -> None:
    options, result = await swept()
    read = json.loads(json.dumps(document("understanding", options, result), allow_nan=False))
    assert result.choice is not None
    assert read["chosen"] == result.choice.chosen.point.label
    assert {p["label"] for p in read["points"]} == {e.point.label for e in result.estimates}
    assert read["failed"] == {POINTS[1].label: "broken on purpose"}
    finalists = [p for p in read["points"] if p["finalist"]]
    assert all(set(p["other_levels"]) == {"1", "32"} for p in finalists)

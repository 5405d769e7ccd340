"""`python -m loadtest.drill`: promotions and rollbacks under load, judged."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from loadtest.bench.machine import describe
from loadtest.drill.run import Drill, Options, run_drill
from serving.errors import CartwrightError

ROOT = Path(__file__).parents[2]
# p99 outside of the switch seconds against the quiet times.
MOST_P99 = 1.2
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--share", type=click.FloatRange(0.05, 1.0), default=0.7, show_default=True)
@click.option(
    "--quiet-s",
    type=click.FloatRange(min=2),
    default=7.0,
    show_default=True,
    help="Before each promotion and after it is undone, to compare with.",
)
@click.option("--repository", type=_PATH, default=ROOT / "model_repository")
@click.option("--shop", type=_PATH, default=ROOT / "var" / "shop")
@click.option("--json", "json_path", type=_PATH, help="Where the results go as JSON.")
def main(
    rounds: int,
    share: float,
    quiet_s: float,
    repository: Path,
    shop: Path,
    json_path: Path | None,
) -> None:
    """Promote and roll back under load, and say what the customers noticed.

    Exit code 1 if a request failed, a turn was mixed, or p99 moved too far.
    """
    console = Console(highlight=False)
    options = Options(repository=repository, shop=shop, rounds=rounds, share=share, quiet_s=quiet_s)
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        try:
            drill = run_drill(options, Path(folder), click.echo)
        except CartwrightError as error:
            raise click.ClickException(error.message) from error
    console.print(_table(drill))
    found = complaints(drill)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        document = {"about": describe(ROOT), **_without_answers(drill), "complaints": found}
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    for line in found:
        click.echo(f"FAILED {line}", err=True)
    raise SystemExit(1 if found else 0)


def complaints(drill: Drill) -> list[str]:
    """What the customers noticed and should not have."""
    verdict = drill.verdict
    found = []
    if verdict.errors:
        found.append(f"requests failed: {verdict.errors}")
    if verdict.mixed:
        found.append(f"{verdict.mixed} turns were answered by two versions of a model")
    if verdict.late:
        found.append(f"{verdict.late} answers by a version that was not live any more")
    if verdict.degraded:
        found.append(f"{verdict.degraded} answers were degraded")
    steady = sum(one.steady for one in drill.rounds)
    if steady < drill.asked:
        found.append(
            f"only {steady} of {len(drill.rounds)} rounds had {drill.share:.0%} of the peak, "
            f"{drill.asked} should: the machine does not keep its speed"
        )
    # One bad moment in a quiet second would hide what all rounds show, and the other way round.
    for ratio, which in (
        (verdict.p99_ratio, "of all rounds"),
        (verdict.median_p99_ratio, "of the median round"),
    ):
        if ratio > MOST_P99:
            found.append(
                f"p99 {which} outside of the switch seconds is {ratio:.2f} times the quiet one, "
                f"at most {MOST_P99:g}"
            )
    return found


def _table(drill: Drill) -> Table:
    verdict = drill.verdict
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    rounds = drill.rounds
    steady = [one for one in rounds if one.steady]
    rates = [one.rate_per_s for one in steady]
    for name, value in (
        (
            "promotions, each with a rollback",
            f"{len(rounds)}, {len(steady)} of them count for p99",
        ),
        ("requests", str(verdict.requests)),
        ("peak, requests/s", _spread(drill.peaks_per_s, 1.0)),
        (f"arrivals at {drill.share:.0%} of it", _spread(rates, 1.0)),
        ("failed", str(sum(verdict.errors.values()))),
        ("refused when the load was too much", str(verdict.refused_unsteady)),
        ("degraded", str(verdict.degraded)),
        ("mixed turns", str(verdict.mixed)),
        ("by a version not live any more", str(verdict.late)),
        ("until live, loading included, s", _spread([one.promotion_s for one in rounds], 1.0)),
        ("rollback, ms", _spread([one.rollback_s for one in rounds], 1000.0)),
        *(
            (f"{time}: p50, p99 ms", f"{part.p50_ms:.1f}, {part.p99_ms:.1f} ({part.answers})")
            for time, part in verdict.parts.items()
        ),
        ("p99 between switches / quiet", f"{verdict.p99_ratio:.2f}"),
        ("the same by round", _spread(verdict.p99_ratios, 1.0, 2)),
        ("quiet after / quiet before, by round", _spread(verdict.quiet_p99_ratios, 1.0, 2)),
    ):
        table.add_row(name, value)
    return table


def _without_answers(drill: Drill) -> dict[str, Any]:
    # There are tens of thousands.
    return asdict(replace(drill, rounds=tuple(replace(one, answers=()) for one in drill.rounds)))


def _spread(seconds: Sequence[float], scale: float, digits: int = 1) -> str:
    if not seconds:
        return "none"
    low, middle, high = np.percentile(np.array(seconds) * scale, (0, 50, 100)).tolist()
    return f"median {middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()

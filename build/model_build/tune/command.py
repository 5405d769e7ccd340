"""`cartwright models tune`: parses, sweeps, prints, writes."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
import psutil
from rich.console import Console

from model_build.spec import ModelSpec
from model_build.specs import SPECS
from model_build.terminal import say, show
from model_build.tune.options import AskedAxes, Numbers, sweep_options
from model_build.tune.plot import MISSING, can_plot
from model_build.tune.progress import sweep_bar
from model_build.tune.report import describe, lines, table
from model_build.tune.requests import make_bodies, read_texts, takes_text, usual_rows
from model_build.tune.sweep import SweepOptions, SweepResult, sweep
from model_build.tune.trial_host import open_host
from model_build.tune.writing import profile_of, write_all
from serving.cli.render import stdout_console
from serving.models.repository import ModelRepository, PublishedVersion
from serving.settings import load_settings
from serving.triton.server import ServerLost

_EXIT_FAILED = 1
_INTERRUPTED = 130
# How long the machine is watched before the sweep, and what share of it may be in use by others.
_REST_S = 1.0
_BUSY_SHARE = 0.2


@click.command("tune")
@click.argument("model", type=click.Choice(list(SPECS)))
@click.option(
    "--p99-ms",
    type=click.FloatRange(min=0, min_open=True),
    required=True,
    help="Longest p99 of a request to the model, at the stated concurrency.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Requests in flight under which the choice is made.",
)
@click.option(
    "--levels",
    type=Numbers(1),
    help="Other concurrencies to be shown.  [default: 1 and four times --concurrency]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Time for everything.",
)
@click.option("--rows", type=click.IntRange(min=1), help="Rows of a request.")
@click.option("--instances", type=Numbers(1), help="Numbers of instances to be tried.")
@click.option("--threads", type=Numbers(1), help="Numbers of threads of an instance.")
@click.option("--delays", type=Numbers(0), help="Queue delays in microseconds.")
@click.option("--batches", type=Numbers(1), help="Rows up to which requests are joined.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_repository"),
    show_default=True,
)
@click.option(
    "--shop",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/shop"),
    show_default=True,
    help="Its held-out utterances are the texts of models that take text.",
)
@click.option(
    "--texts", type=click.Path(path_type=Path, dir_okay=False), help="Other texts, one a line."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/tune"),
    show_default=True,
    help="A folder for the model is made in it, for results as JSON and as a plot.",
)
@click.option("--dry-run", is_flag=True, help="Measure and print; write nothing.")
def tune_command(
    model: str,
    p99_ms: float,
    concurrency: int,
    levels: tuple[int, ...] | None,
    minutes: float,
    rows: int | None,
    instances: tuple[int, ...] | None,
    threads: tuple[int, ...] | None,
    delays: tuple[int, ...] | None,
    batches: tuple[int, ...] | None,
    seed: int,
    repository: Path,
    shop: Path,
    texts: Path | None,
    output: Path,
    dry_run: bool,
) -> None:
    """Find the best hosting of MODEL on this machine, on a real tritonserver under load.

    Writes it into the model's serving profile, of which config.pbtxt is generated. Exits with 1,
    and writes nothing, if no hosting keeps --p99-ms.
    """
    console = stdout_console()
    spec = SPECS[model]
    rng = np.random.default_rng(seed)
    version = ModelRepository(repository).latest(model)
    rows = rows or usual_rows(spec)
    if rows > spec.max_batch_size:
        raise click.UsageError(f"--rows {rows}: {model} takes at most {spec.max_batch_size}")
    asked = AskedAxes(instances=instances, threads=threads, delays=delays, batches=batches)
    options = sweep_options(spec, asked, repository, rows, concurrency, levels, p99_ms, minutes)
    spoken = read_texts(shop, texts) if takes_text(spec) else []
    bodies = make_bodies(spec, version, rows, spoken, rng)
    plots = can_plot()
    if not plots:
        say(console, MISSING)
    say(console, _opening(spec, version, options, rows, minutes))
    try:
        with tempfile.TemporaryDirectory(prefix="cartwright-tune-") as scratch:
            result, tritonserver = asyncio.run(
                _measure(console, Path(scratch), spec, version, bodies, options, rng)
            )
    except ServerLost as error:
        _fail(f"tritonserver: {error}")
    except KeyboardInterrupt:
        say(console, "interrupted; nothing was written")
        raise SystemExit(_INTERRUPTED) from None
    show(console, table(model, options, result))
    for line in lines(options, result):
        say(console, line)
    say(console, f"{result.seconds:.0f} s in all")
    if result.choice is None:
        missed = result.nearest
        _fail(
            f"no hosting keeps p99 within {p99_ms:g} ms at {concurrency} in flight; nearest is "
            f"{missed.point.label} ({describe(missed.point)}) with {missed.p99_ms:.1f} ms; "
            "nothing was written"
        )
    if dry_run:
        say(console, "dry run: nothing was written")
        return
    profile = profile_of(spec, version, options, result, rows, tritonserver)
    for path in write_all(repository, output / model, spec, options, result, profile, plots=plots):
        say(console, f"wrote {path}")
    say(console, "model hosts take it up when they start")


async def _measure(
    console: Console,
    scratch: Path,
    spec: ModelSpec,
    version: PublishedVersion,
    bodies: Sequence[bytes],
    options: SweepOptions,
    rng: np.random.Generator,
) -> tuple[SweepResult, str]:
    """The sweep's result and the version of tritonserver."""
    async with open_host(load_settings().triton, scratch, spec, version, bodies) as host:
        # The server has nothing to do yet: whatever is busy now is somebody else's.
        busy = await asyncio.to_thread(psutil.cpu_percent, _REST_S) / 100.0
        if busy > _BUSY_SHARE:
            say(
                console,
                f"warning: other processes keep {busy:.0%} of this machine busy; they decide what "
                "is found as much as the model does",
            )
        with sweep_bar(console, options.seconds) as watch:
            result = await sweep(host, options, rng, watch)
        return result, await host.server_version()


def _opening(
    spec: ModelSpec, version: PublishedVersion, options: SweepOptions, rows: int, minutes: float
) -> str:
    points = len({*options.points, options.in_use})
    each = "row" if rows == 1 else "rows"
    return (
        f"{spec.name} {version.manifest.version} ({version.manifest.served_artifact}): {points} "
        f"points at {options.concurrency} in flight, {rows} {each} a request, {minutes:g} minutes; "
        f"in use: {options.in_use.label}"
    )


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    raise SystemExit(_EXIT_FAILED)

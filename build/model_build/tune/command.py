"""`cartwright models tune`: parses, sweeps, prints, writes."""

import asyncio
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
from rich.console import Console
from rich.markup import escape

from model_build.publish import locked
from model_build.serving_profile import (
    ServingProfile,
    TunedFigures,
    TunedLoad,
    spec_hosting,
    tuned_hosting,
)
from model_build.spec import ModelSpec, Target
from model_build.specs import SPECS
from model_build.triton_config import write_config
from model_build.tune.grid import Axes, default_axes, fitting
from model_build.tune.machine import this_machine, usable_cores, versions_of
from model_build.tune.plot import MISSING, can_plot, write_plot
from model_build.tune.progress import sweep_bar
from model_build.tune.report import describe, document, lines, table
from model_build.tune.requests import make_bodies, read_texts, takes_text, usual_rows
from model_build.tune.schedule import most_points
from model_build.tune.sweep import SweepOptions, SweepResult, sweep
from model_build.tune.trial_host import open_host
from serving.cli.render import PLAIN_WIDTH, stdout_console
from serving.errors import StartupError
from serving.models.repository import ModelRepository, PublishedVersion
from serving.settings import load_settings
from serving.triton.server import ServerLost

# What is tuned here; on a GPU other things matter (one instance, larger batches).
_TARGET: Target = "cpu"
_EXIT_FAILED = 1
_INTERRUPTED = 130
# Time for the server to start and for requests to be made.
_START_S = 5.0
_TUNED_RESULT = "tune.json"
_TUNED_PLOT = "tune.png"


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers, separated by commas, each once."""

    name = "n,n,…"

    def __init__(self, smallest: int) -> None:
        self._smallest = smallest

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers, rising."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isdecimal() for word in words):
            self.fail(f"{value!r}: must be whole numbers, separated by commas", param, ctx)
        numbers = sorted({int(word) for word in words})
        if numbers[0] < self._smallest:
            self.fail(f"{numbers[0]} is below {self._smallest}", param, ctx)
        return tuple(numbers)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Values of the sweep that the command line gives; None: the default ones."""

    instances: tuple[int, ...] | None
    threads: tuple[int, ...] | None
    delays: tuple[int, ...] | None
    batches: tuple[int, ...] | None


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
    type=_Numbers(1),
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
@click.option("--instances", type=_Numbers(1), help="Numbers of instances to be tried.")
@click.option("--threads", type=_Numbers(1), help="Numbers of threads of an instance.")
@click.option("--delays", type=_Numbers(0), help="Queue delays in microseconds.")
@click.option("--batches", type=_Numbers(1), help="Rows up to which requests are joined.")
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
    asked = _Asked(instances=instances, threads=threads, delays=delays, batches=batches)
    options = _options(spec, asked, repository, rows, concurrency, levels, p99_ms, minutes)
    spoken = read_texts(shop, texts) if takes_text(spec) else []
    bodies = make_bodies(spec, version, rows, spoken, rng)
    plots = can_plot()
    if not plots:
        _say(console, MISSING)
    _say(console, _opening(spec, version, options, rows, minutes))
    try:
        with tempfile.TemporaryDirectory(prefix="cartwright-tune-") as scratch:
            result, tritonserver = asyncio.run(
                _measure(console, Path(scratch), spec, version, bodies, options, rng)
            )
    except ServerLost as error:
        _fail(f"tritonserver: {error}")
    except KeyboardInterrupt:
        _say(console, "interrupted; nothing was written")
        raise SystemExit(_INTERRUPTED) from None
    # Lines that a narrow terminal wraps are better than figures cut off.
    width = max(console.width, PLAIN_WIDTH)
    console.print(table(model, options, result), width=width, crop=False)
    for line in lines(options, result):
        _say(console, line)
    _say(console, f"{result.seconds:.0f} s in all")
    if result.choice is None:
        missed = result.nearest
        _fail(
            f"no hosting keeps p99 within {p99_ms:g} ms at {concurrency} in flight; nearest is "
            f"{missed.point.label} ({describe(missed.point)}) with {missed.p99_ms:.1f} ms; "
            "nothing was written"
        )
    if dry_run:
        _say(console, "dry run: nothing was written")
        return
    profile = _profile(spec, version, options, result, rows, tritonserver)
    for path in _write(repository, output / model, spec, options, result, profile, plots=plots):
        _say(console, f"wrote {path}")
    _say(console, "model hosts take it up when they start")


def _options(
    spec: ModelSpec,
    asked: _Asked,
    repository: Path,
    rows: int,
    concurrency: int,
    levels: tuple[int, ...] | None,
    p99_ms: float,
    minutes: float,
) -> SweepOptions:
    """The sweep that was asked for.

    Raises:
        click.UsageError: it cannot be made; names the option.
        StartupError: the profile in place is unusable.
    """
    queue = spec.hosting[_TARGET].batching.max_queue_size
    # With as many in flight the queue never fills; beyond that it would refuse some.
    most_in_flight = queue if queue is not None else max(concurrency, *(levels or (1,)), 256)
    if concurrency > most_in_flight:
        raise click.UsageError(
            f"--concurrency {concurrency}: the queue of {spec.name} takes {most_in_flight} requests"
        )
    if levels is None:
        levels = (1, min(4 * concurrency, most_in_flight))
    if levels[-1] > most_in_flight:
        raise click.UsageError(
            f"--levels {levels[-1]}: the queue of {spec.name} takes {most_in_flight} requests"
        )
    others = tuple(level for level in dict.fromkeys(levels) if level != concurrency)
    seconds = minutes * 60.0 - _START_S
    in_use = tuned_hosting(repository, spec, _TARGET) or spec_hosting(spec, _TARGET)
    axes = _axes(spec, asked, rows, concurrency)
    draft = SweepOptions(
        points=(),
        in_use=in_use,
        concurrency=concurrency,
        other_levels=others,
        p99_limit_ms=p99_ms,
        seconds=seconds,
    )
    # The point in use comes on top.
    most = most_points(seconds, draft.load_s, 1 + len(others))
    cores = usable_cores()
    given = any(values is not None for values in vars(asked).values())
    fitted = axes if given else fitting(axes, cores, most)
    points = len(axes.points()) if fitted is None else len(fitted.points())
    if fitted is None or len(set(fitted.points()) - {in_use}) > most:
        raise click.UsageError(
            f"--minutes {minutes:g}: too short for {points} points; give more, or fewer values "
            "with --instances, --threads, --delays and --batches"
        )
    return SweepOptions(**{**vars(draft), "points": fitted.points()})


def _axes(spec: ModelSpec, asked: _Asked, rows: int, concurrency: int) -> Axes:
    default = default_axes(usable_cores(), rows, concurrency, spec.max_batch_size)
    lanes = default.lanes
    if asked.instances is not None or asked.threads is not None:
        lanes = tuple(
            (count, threads)
            for count in asked.instances or sorted({lane[0] for lane in lanes})
            for threads in asked.threads or sorted({lane[1] for lane in lanes})
        )
    if asked.batches is not None and asked.batches[-1] > spec.max_batch_size:
        raise click.UsageError(
            f"--batches {asked.batches[-1]}: {spec.name} takes at most {spec.max_batch_size} rows"
        )
    return Axes(
        lanes=lanes,
        delays_microseconds=asked.delays or default.delays_microseconds,
        batch_rows=asked.batches or default.batch_rows,
    )


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


def _profile(
    spec: ModelSpec,
    version: PublishedVersion,
    options: SweepOptions,
    result: SweepResult,
    rows: int,
    tritonserver: str,
) -> ServingProfile:
    assert result.choice is not None
    chosen = result.choice.chosen
    return ServingProfile(
        model=spec.name,
        target=_TARGET,
        hosting=chosen.point,
        load=TunedLoad(
            concurrency=options.concurrency,
            rows_per_request=rows,
            p99_limit_ms=options.p99_limit_ms,
        ),
        figures=TunedFigures(
            requests_per_s=round(chosen.requests_per_s, 1),
            p50_ms=round(chosen.p50_ms, 2),
            p99_ms=round(chosen.p99_ms, 2),
            cpu_ms_per_request=round(chosen.cpu_ms, 3),
            mean_batch_rows=round(chosen.mean_batch_rows, 2),
            instance_memory_mib=round(chosen.memory_mib, 1),
            looks=chosen.looks,
            noise_band=round(result.noise_band, 4),
        ),
        machine=this_machine(),
        versions=versions_of(version.manifest, tritonserver),
        tuned_at=datetime.now(UTC).replace(microsecond=0),
        command=shlex.join(["cartwright", *sys.argv[1:]]),
    )


def _write(
    repository: Path,
    folder: Path,
    spec: ModelSpec,
    options: SweepOptions,
    result: SweepResult,
    profile: ServingProfile,
    *,
    plots: bool,
) -> list[Path]:
    """Writes the results, then what they mean for serving.

    Raises:
        StartupError: a file cannot be written, or a build is under way; names it.
    """
    written = [folder / _TUNED_RESULT]
    found = {
        **document(spec.name, options, result),
        "machine": profile.machine.model_dump(),
        "versions": profile.versions,
        "tuned_at": profile.tuned_at.isoformat(),
        "command": profile.command,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written[0].write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        if plots:
            written.append(folder / _TUNED_PLOT)
            write_plot(written[-1], spec.name, options, result)
    except OSError as error:
        raise StartupError(f"{error.filename}: cannot be written: {error.strerror}") from error
    with locked(repository):
        written.append(profile.write(repository))
        if write_config(repository, spec, _TARGET):
            written.append(repository / spec.name / "config.pbtxt")
    return written


def _say(console: Console, line: str) -> None:
    console.print(escape(line), highlight=False, soft_wrap=True)


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    raise SystemExit(_EXIT_FAILED)

"""`cartwright models gate`: parses, measures, stores, prints."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from model_build.data.csv_rows import DataError
from model_build.options import json_option, repository_option, seed_option
from model_build.progress import counting_bar
from model_build.promotion.gates import Gates, LatencyTask
from model_build.promotion.latency import LatencyOptions, rounds_in
from model_build.promotion.report import lines, table
from model_build.serving_profile import spec_hosting, tuned_hosting
from model_build.specs import SPECS
from model_build.terminal import console_beside, say, show
from model_build.tune.options import TARGET
from serving.cli.document import print_document
from serving.errors import NotFound, StartupError
from serving.models.repository import ModelRepository, PublishedVersion
from serving.settings import load_settings
from serving.triton.server import ServerLost
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate, Outcome, Verdict

_EXIT_NOT_PASSED = 1
_INTERRUPTED = 130
# `replay` judges what `cartwright replay` has found.
MEASURED = (Gate.PARITY, Gate.QUALITY, Gate.LATENCY)


class GateNames(click.ParamType[tuple[Gate, ...]]):
    """Names of gates, separated by commas, each once."""

    name = ",".join(MEASURED)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Gate, ...]:
        """The gates in the order in which they are run."""
        if isinstance(value, tuple):
            return value
        names = {word.strip() for word in str(value).split(",")}
        unknown = names - set(MEASURED)
        if unknown:
            known = ", ".join(MEASURED)
            self.fail(f"{', '.join(sorted(unknown))!r}: must be some of {known}", param, ctx)
        return tuple(gate for gate in MEASURED if gate in names)


@click.command("gate")
@click.argument("model", type=click.Choice(list(SPECS)))
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--against",
    type=click.IntRange(min=1),
    help="Version to compare with.  [default: the live one]",
)
@click.option("--only", type=GateNames(), help="Some of the gates.  [default: all]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    help="Time for the gate of latency.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Requests in flight in the gate of latency.",
)
@click.option(
    "--slower",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share by which a version may be slower.",
)
@seed_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of public data that the version was built from; without it the synthetic shop.",
)
@repository_option
@click.option(
    "--shop",
    type=click.Path(path_type=Path, file_okay=False),
    help="Its held-out utterances are the load of models that take text.  "
    "[default: the settings' stores.shop]",
)
@json_option
def gate_command(
    model: str,
    version: int,
    against: int | None,
    only: tuple[Gate, ...] | None,
    minutes: float,
    concurrency: int,
    slower: float,
    seed: int,
    data: Path | None,
    repository: Path | None,
    shop: Path | None,
    as_json: bool,
) -> None:
    """Measure VERSION of MODEL against the live one, and store what was found.

    Exits with 1 unless every gate has passed. A promotion asks for the stored verdicts.
    """
    console = console_beside(as_json=as_json)
    settings = load_settings()
    store = VersionStore(settings.stores.folder / FILE_NAME)
    published = ModelRepository(repository or settings.triton.model_repository)
    candidate = _published(published, model, version)
    live = _live(store, published, model, against)
    if live is not None and live.folder == candidate.folder:
        raise click.UsageError(f"version {version} is compared with itself: give --against")
    chosen = _chosen(only, live)
    if live is None:
        say(console, f"no version of {model} is live: only parity can be measured")
    task = LatencyTask(
        settings=settings.triton,
        options=latency_options(published.root, model, minutes, concurrency, slower),
        shop=shop or settings.stores.shop,
        seed=seed,
    )
    verdicts: list[Verdict] = []
    try:
        gates = Gates(
            candidate,
            live,
            data_folder=data,
            candidates=lambda: _retrieving(store, published),
        )
        for gate in chosen:
            say(console, f"{gate}: measuring")
            verdicts.append(_run(gates, gate, task, console))
            store.add_verdict(verdicts[-1])
    except DataError as error:
        raise StartupError(f"--data: {error}") from error
    except ServerLost as error:
        raise click.ClickException(f"tritonserver: {error}") from error
    except KeyboardInterrupt:
        say(console, "interrupted; the gates that were done are stored")
        raise SystemExit(_INTERRUPTED) from None
    _print(console, verdicts, as_json=as_json)
    if any(verdict.outcome is not Outcome.PASSED for verdict in verdicts):
        raise SystemExit(_EXIT_NOT_PASSED)


def _run(gates: Gates, gate: Gate, task: LatencyTask, console: Console) -> Verdict:
    if gate is Gate.LATENCY:
        with counting_bar(console, "rounds", task.options.rounds) as watch:
            return gates.latency(task, watch)
    return gates.parity() if gate is Gate.PARITY else gates.quality()


def _chosen(only: tuple[Gate, ...] | None, live: PublishedVersion | None) -> tuple[Gate, ...]:
    """The gates that are run: all that can be, unless some are asked for."""
    possible = tuple(gate for gate in MEASURED if live is not None or not gate.compares)
    for gate in only or ():
        if gate not in possible:
            raise click.UsageError(f"--only {gate}: there is no live version: give --against")
    return only or possible


def _live(
    store: VersionStore, published: ModelRepository, model: str, against: int | None
) -> PublishedVersion | None:
    number = store.read(model)[0].live if against is None else against
    return None if number is None else _published(published, model, number)


def _retrieving(store: VersionStore, published: ModelRepository) -> PublishedVersion:
    """The version of `candidates` that serves: the live one, else the newest."""
    return _live(store, published, "candidates", None) or published.latest("candidates")


def _published(published: ModelRepository, model: str, version: int) -> PublishedVersion:
    known = published.versions(model)
    if version not in known:
        raise NotFound(
            f"version {version} of {model} is not published in {published.root} "
            f"(published: {', '.join(map(str, known)) or 'none'})"
        )
    return published.version(model, version)


def latency_options(
    repository: Path, model: str, minutes: float, concurrency: int, slower: float
) -> LatencyOptions:
    """What the command line asks of the gate of latency.

    Raises:
        click.UsageError: it cannot be had; names the option.
        StartupError: the serving profile in place is unusable.
    """
    spec = SPECS[model]
    queue = spec.hosting[TARGET].batching.max_queue_size
    if queue is not None and concurrency > queue:
        raise click.UsageError(
            f"--concurrency {concurrency}: the queue of {model} takes {queue} requests"
        )
    try:
        return LatencyOptions(
            hosting=tuned_hosting(repository, spec, TARGET) or spec_hosting(spec, TARGET),
            concurrency=concurrency,
            rounds=rounds_in(minutes * 60.0),
            slower=slower,
        )
    except ValueError as error:
        raise click.UsageError(f"--minutes {minutes:g}: {error}") from error


def _print(console: Console, verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    if as_json:
        print_document([verdict.to_document() for verdict in verdicts])
        return
    show(console, table(verdicts))
    for line in lines(verdicts):
        say(console, line)

"""`python loadtest/bench`: measure a run, show it again, compare two."""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from loadtest.bench.aims import aims, failures
from loadtest.bench.catalogue import NAMES
from loadtest.bench.children import ROOT
from loadtest.bench.compare import compare, only_in_one
from loadtest.bench.document import UnusableDocument, write_block
from loadtest.bench.measure import FOLDER, LIMIT, measure, profile_stack
from loadtest.bench.plan import FULL, QUICK, Plan
from loadtest.bench.plots import write_plots
from loadtest.bench.report import (
    about_line,
    changes_table,
    markdown,
    print_tables,
    profile_table,
    tables,
)
from loadtest.bench.results import Results, UnreadableResults
from loadtest.bench.servers import serve
from loadtest.bench.summary import Summary, summarise
from serving.errors import StartupError

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def main() -> None:
    """Measure the stack beside the bare model and other ways of serving it."""


main.add_command(serve)


def _document_options(command: "click.decorators.FC") -> "click.decorators.FC":
    for option in (
        click.option("--plots", type=_PATH, help="Folder that takes pictures (PNG)."),
        click.option("--markdown", "document", type=_PATH, help="Document that takes the tables."),
    ):
        command = option(command)
    return command


@main.command()
@click.option("--quick", is_flag=True, help="Show in under 3 minutes that everything works.")
@click.option("--only", metavar="NAME,…", default="", help=f"Some of: {', '.join(NAMES)}, {LIMIT}.")
@click.option("--rounds", type=click.IntRange(min=1))
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Of each load.")
@click.option("--in-flight", metavar="N,…", default="", help="Levels instead of the plan's.")
@click.option("--repository", type=_PATH, default=ROOT / "model_repository")
@click.option("--shop", type=_PATH, default=ROOT / "var" / "shop")
@click.option("--json", "json_path", type=_PATH, help="Where results go; default: var/bench.")
@_document_options
def run(
    quick: bool,
    only: str,
    rounds: int | None,
    seconds: float | None,
    in_flight: str,
    repository: Path,
    shop: Path,
    json_path: Path | None,
    document: Path | None,
    plots: Path | None,
) -> None:
    """Measure everything (or some) in turn, several rounds."""
    plan = _plan(QUICK if quick else FULL, rounds, seconds, in_flight)
    names = _names(only)
    try:
        results, complaints = measure(plan, names, repository, shop)
    except StartupError as error:
        raise click.ClickException(error.message) from error
    path = json_path or FOLDER / f"{results.started_at.replace(':', '')}.json"
    results.write(path)
    summary = summarise(results)
    _show(results, summary, document, plots)
    click.echo(f"results: {path}")
    for name, text in complaints.items():
        click.echo(f"first error of {name}: {text}", err=True)
    found = failures(summary)
    for line in found:
        click.echo(f"FAILED {line}", err=True)
    raise SystemExit(1 if found else 0)


@main.command("profile")
@click.option("--method", default="Understand", help="Understand, Answer, Recommend or Converse.")
@click.option("--in-flight", type=click.IntRange(min=1), default=64)
@click.option("--seconds", type=click.FloatRange(min=2), default=12.0)
@click.option("--repository", type=_PATH, default=ROOT / "model_repository")
@click.option("--shop", type=_PATH, default=ROOT / "var" / "shop")
def show_profile(method: str, in_flight: int, seconds: float, repository: Path, shop: Path) -> None:
    """Say where the replica's time goes under a load, in microseconds a request."""
    try:
        found = profile_stack(method, in_flight, seconds, repository, shop)
    except (StartupError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    print_tables([profile_table(found, f"{method}, {in_flight} in flight")], "")


@main.command()
@click.argument("file", type=_FILE)
@_document_options
def report(file: Path, document: Path | None, plots: Path | None) -> None:
    """Show the results of a run again; write them into a document."""
    results = _read(file)
    _show(results, summarise(results), document, plots)


@main.command("compare")
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@click.option("--all", "show_all", is_flag=True, help="Also what did not move.")
def compare_runs(before: Path, after: Path, show_all: bool) -> None:
    """Say what moved beyond noise between two runs."""
    first, second = _read(before), _read(after)
    changes = compare(first, second, np.random.default_rng(0))
    moved = [change for change in changes if change.beyond_noise]
    shown = changes if show_all else moved
    if shown:
        print_tables([changes_table(shown)], "")
    click.echo(f"{len(moved)} of {len(changes)} figures moved beyond noise")
    for name, keys in zip((before, after), only_in_one(first, second), strict=True):
        if keys:
            click.echo(f"only in {name}: " + "; ".join(f"{v}, {m}, {n}" for v, m, _, n in keys))
    if not changes:
        raise click.ClickException("nothing to compare: each point needs two rounds in both runs")


def _show(results: Results, summary: Summary, document: Path | None, plots: Path | None) -> None:
    found = tables(results, summary, aims(summary))
    about = about_line(results)
    print_tables(found, about)
    pictures = write_plots(results, summary, plots) if plots else []
    if document:
        shown = [f"![{picture.stem}]({_link(picture, document)})" for picture in pictures]
        try:
            write_block(document, "\n\n".join([markdown(found, about).strip(), *shown]))
        except UnusableDocument as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"document: {document}")


def _link(picture: Path, document: Path) -> str:
    """The picture as seen from the document."""
    folder = document.resolve().parent
    path = picture.resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _read(path: Path) -> Results:
    try:
        return Results.read(path)
    except UnreadableResults as error:
        raise click.ClickException(str(error)) from error


def _plan(plan: Plan, rounds: int | None, seconds: float | None, in_flight: str) -> Plan:
    plan = replace(plan, rounds=rounds or plan.rounds, seconds=seconds or plan.seconds)
    if in_flight:
        try:
            levels = tuple(sorted({int(level) for level in in_flight.split(",")}))
        except ValueError as error:
            raise click.BadParameter(f"--in-flight: {in_flight!r}: not numbers") from error
        if levels[0] < 1:
            raise click.BadParameter("--in-flight: levels begin at 1")
        plan = replace(plan, levels=levels, few_levels=levels, triton_levels=levels)
    return plan


def _names(only: str) -> list[str]:
    names = [name for name in only.split(",") if name]
    unknown = sorted(set(names) - {*NAMES, LIMIT})
    if unknown:
        raise click.BadParameter(f"--only: there is no {', '.join(unknown)}")
    return names

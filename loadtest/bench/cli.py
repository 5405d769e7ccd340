"""`python loadtest/bench`: measure a run, show it again, compare two."""

import datetime
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np

from loadtest.bench import machine
from loadtest.bench.aims import aims, failures
from loadtest.bench.artifacts import understanding_files
from loadtest.bench.catalogue import NAMES, Materials, variants
from loadtest.bench.limit import bare_limit, settings
from loadtest.bench.load import load_generator
from loadtest.bench.plan import FULL, QUICK, Plan
from loadtest.bench.reference import intent_indexes
from loadtest.bench.report import about_line, print_tables, tables
from loadtest.bench.results import Results
from loadtest.bench.rounds import Rounds
from loadtest.bench.summary import summarise
from loadtest.bench.texts import TextSet, make_texts
from serving.errors import StartupError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "var" / "bench"
# Any but the one that models are trained with.
TEXTS_SEED = 20_261
LIMIT = "limit"


@click.group()
def main() -> None:
    """Measure the stack beside the bare model and other ways of serving it."""


@main.command()
@click.option("--quick", is_flag=True, help="Show in under 3 minutes that everything works.")
@click.option("--only", metavar="NAME,…", default="", help=f"Some of: {', '.join(NAMES)}, {LIMIT}.")
@click.option("--rounds", type=click.IntRange(min=1))
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Of each load.")
@click.option("--in-flight", metavar="N,…", default="", help="Levels instead of the plan's.")
@click.option("--repository", type=click.Path(path_type=Path), default=ROOT / "model_repository")
@click.option("--shop", type=click.Path(path_type=Path), default=ROOT / "var" / "shop")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where results go.")
def run(
    quick: bool,
    only: str,
    rounds: int | None,
    seconds: float | None,
    in_flight: str,
    repository: Path,
    shop: Path,
    json_path: Path | None,
) -> None:
    """Measure everything (or some) in turn, several rounds."""
    plan = _plan(QUICK if quick else FULL, rounds, seconds, in_flight)
    try:
        results, complaints = _measure(plan, _names(only), repository, shop)
    except StartupError as error:
        raise click.ClickException(error.message) from error
    path = json_path or FOLDER / f"{results.started_at.replace(':', '')}.json"
    results.write(path)
    summary = summarise(results)
    print_tables(tables(results, summary, aims(summary)), about_line(results))
    click.echo(f"results: {path}")
    found = failures(summary)
    for line in found:
        click.echo(f"FAILED {line}", err=True)
    for name, text in complaints.items():
        click.echo(f"first error of {name}: {text}", err=True)
    raise SystemExit(1 if found else 0)


def _plan(plan: Plan, rounds: int | None, seconds: float | None, in_flight: str) -> Plan:
    plan = replace(plan, rounds=rounds or plan.rounds, seconds=seconds or plan.seconds)
    if in_flight:
        try:
            levels = tuple(sorted({int(level) for level in in_flight.split(",")}))
        except ValueError as error:
            raise click.BadParameter(f"--in-flight: {in_flight!r}: not numbers") from error
        if levels[0] < 1:
            raise click.BadParameter("--in-flight: levels begin at 1")
        plan = replace(plan, levels=levels, few_levels=levels)
    return plan


def _names(only: str) -> list[str]:
    names = [name for name in only.split(",") if name]
    unknown = sorted(set(names) - {*NAMES, LIMIT})
    if unknown:
        raise click.BadParameter(f"--only: there is no {', '.join(unknown)}")
    return names


def _measure(
    plan: Plan, only: list[str], repository: Path, shop: Path
) -> tuple[Results, dict[str, str]]:
    began_s = time.monotonic()
    started_at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    files = understanding_files(repository)
    texts = make_texts(plan.texts, TEXTS_SEED)
    cores = machine.cores()
    materials = Materials(
        plan=plan,
        repository=repository,
        shop=shop,
        folder=FOLDER,
        files=files,
        texts=texts.texts,
        expected=intent_indexes(files, texts.texts, cores),
    )
    # The limit has to be there in any case: everything is compared with it.
    chosen = [] if only == [LIMIT] else variants(materials, [n for n in only if n != LIMIT])
    with (
        bare_limit(files, texts.texts[: plan.limit_texts], cores) as limit,
        load_generator() as generator,
    ):
        measured = Rounds(
            plan, limit, generator, settings(list(files.artifacts), cores), files.served, click.echo
        ).run(chosen)
    return Results(
        started_at=started_at,
        took_s=time.monotonic() - began_s,
        about={
            **machine.describe(ROOT),
            "options": asdict(plan),
            "only": only,
            "understanding": {
                "version": files.version,
                "served": files.served,
                "sha256": dict(files.digests),
            },
            "texts": _about_texts(texts),
        },
        limit_setting=measured.limit_setting,
        limits=measured.limits,
        points=measured.points,
        idle=measured.idle,
    ), measured.complaints


def _about_texts(texts: TextSet) -> dict[str, object]:
    words = [len(text.split()) for text in texts.texts]
    return {
        "count": len(words),
        "seed": texts.seed,
        "digest": texts.digest(),
        "mean_words": float(np.mean(words)),
        "words": {str(length): count for length, count in texts.word_counts().items()},
    }

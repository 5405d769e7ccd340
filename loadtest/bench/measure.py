"""From a plan to results: texts, references, lanes, generator, rounds."""

import datetime
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import click
import numpy as np

from loadtest.bench import machine
from loadtest.bench.artifacts import understanding_files
from loadtest.bench.catalogue import Materials, variants
from loadtest.bench.children import ROOT
from loadtest.bench.cpu import ServerProcesses
from loadtest.bench.limit import bare_limit, settings
from loadtest.bench.load import Load, load_generator
from loadtest.bench.plan import FULL, Plan
from loadtest.bench.profile import Profile, profile
from loadtest.bench.reference import intent_indexes
from loadtest.bench.results import Results
from loadtest.bench.rounds import Rounds
from loadtest.bench.texts import TextSet, make_texts

# Logs, caches and results.
FOLDER = ROOT / "var" / "bench"
# Any but the one that models are trained with.
TEXTS_SEED = 20_261
# Caches and batches are as they stay by then.
_PROFILE_WARM_UP_S = 4.0
# Asked for by name when nothing else is to be measured.
LIMIT = "limit"


def measure(
    plan: Plan, only: Sequence[str], repository: Path, shop: Path
) -> tuple[Results, dict[str, str]]:
    """Runs the plan for the variants that are named, or all.

    Returns:
        The results, and the text of the first error by variant and method.

    Raises:
        StartupError: a model, the shop or a server is not there or does not start.
    """
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
    names = [name for name in only if name != LIMIT]
    # The bare work is measured in any case: everything is compared with it.
    chosen = [] if only and not names else variants(materials, names)
    with (
        bare_limit(files, texts.texts[: plan.limit_texts], cores) as limit,
        load_generator() as generator,
    ):
        rounds = Rounds(
            plan, limit, generator, settings(list(files.artifacts), cores), files.served, click.echo
        )
        measured = rounds.run(chosen)
    about = {
        **machine.describe(ROOT),
        "options": asdict(plan),
        "only": list(only),
        "understanding": {
            "version": files.version,
            "served": files.served,
            "sha256": dict(files.digests),
        },
        "texts": _about_texts(texts),
    }
    results = Results(
        started_at=started_at,
        took_s=time.monotonic() - began_s,
        about=about,
        limit_setting=measured.limit_setting,
        limits=measured.limits,
        points=measured.points,
        idle=measured.idle,
    )
    return results, measured.complaints


def profile_stack(
    method: str, in_flight: int, seconds: float, repository: Path, shop: Path
) -> Profile:
    """Starts the stack and looks where its replica's time goes under one load.

    Raises:
        StartupError: a model or the shop is not there, or the stack does not start.
        RuntimeError: the method is none of the benchmark's, or nothing could be sampled.
    """
    materials = Materials(
        plan=FULL,
        repository=repository,
        shop=shop,
        folder=FOLDER,
        files=understanding_files(repository),
        texts=make_texts(FULL.texts, TEXTS_SEED).texts,
        # Whether replies are right is the benchmark's business.
        expected={},
    )
    (stack,) = variants(materials, ["stack"])
    workloads = {case.label: case.workload for case in stack.cases}
    if method not in workloads:
        raise RuntimeError(f"--method: {method!r}: one of {', '.join(workloads)}")
    mark = uuid4().hex
    with load_generator() as generator, stack.start(mark) as address:
        load = Load(
            address=address,
            workload=workloads[method],
            in_flight=in_flight,
            seconds=seconds,
            warm_up_s=_PROFILE_WARM_UP_S,
            run=mark[:8],
        )
        return profile(generator, load, ServerProcesses(mark))


def _about_texts(texts: TextSet) -> dict[str, object]:
    words = [len(text.split()) for text in texts.texts]
    return {
        "count": len(words),
        "seed": texts.seed,
        "digest": texts.digest(),
        "mean_words": float(np.mean(words)),
        "words": {str(length): count for length, count in texts.word_counts().items()},
    }

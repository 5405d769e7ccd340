"""`cartwright replay`: replays, judges, stores the verdict, prints, writes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from model_build.progress import counting_bar
from model_build.promotion.replay import ReplayBounds, judge_replay
from model_build.promotion.report import summary
from model_build.promotion.report import table as verdict_table
from model_build.promotion.verdicts import verdict_of
from model_build.replay.page import render
from model_build.replay.report import lines, tables
from model_build.replay.result import ReplayResult
from model_build.replay.run import ReplayOptions, read_newest, run_replay
from model_build.terminal import console_beside, say, show
from serving.errors import StartupError
from serving.recording.recorder import FOLDER
from serving.recording.records import Record
from serving.settings import Settings, load_settings
from serving.triton.server import ServerLost
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate, Outcome, Verdict

RESULT_FILE = "replay.json"
PAGE_FILE = "replay.html"
_EXIT_NOT_PASSED = 1
_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command line."""

    versions: tuple[int, int]
    # None: what the settings say.
    records: Path | None
    repository: Path | None
    since_ms: int | None
    limit: int
    # Share of requests in which the new version may differ.
    disagree: float
    out: Path
    seed: int
    as_json: bool


def replay_and_report(asked: Asked) -> None:
    """Runs the command.

    Raises:
        StartupError: records, versions, tritonserver or the output folder cannot be used.
        click.ClickException: tritonserver ended.
    """
    console = console_beside(as_json=asked.as_json)
    settings = load_settings()
    options = ReplayOptions(
        repository=asked.repository or settings.triton.model_repository,
        versions=asked.versions,
        records=asked.records or settings.stores.folder / FOLDER,
        since_ms=asked.since_ms,
        limit=asked.limit,
        seed=asked.seed,
    )
    records, problems = read_newest(options)
    for problem in problems:
        say(console, f"warning: {problem}")
    try:
        result = _replayed(console, settings, options, records)
    except ServerLost as error:
        raise click.ClickException(f"tritonserver: {error}") from error
    except KeyboardInterrupt:
        say(console, "interrupted; nothing was written")
        raise SystemExit(_INTERRUPTED) from None
    verdict = judge(result, ReplayBounds(share=asked.disagree))
    result = result.model_copy(update={"verdict": verdict})
    # The file first: what cannot be read again must not decide about a promotion.
    written = write(result, asked.out)
    stored = _store(settings.stores.folder / FILE_NAME, verdict)
    if asked.as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        _print(console, result, verdict)
        for path in written:
            say(console, f"wrote {path}")
    say(console, stored)
    if verdict.outcome is not Outcome.PASSED:
        raise SystemExit(_EXIT_NOT_PASSED)


def judge(result: ReplayResult, bounds: ReplayBounds) -> Verdict:
    """The verdict about the second version: does it answer as the first one does?"""
    return verdict_of(
        Gate.REPLAY,
        judge_replay(result, bounds),
        model=result.model,
        version=result.second.version,
        against=result.first.version,
        environment={"tritonserver": result.tritonserver},
    )


def write(result: ReplayResult, folder: Path) -> list[Path]:
    """Writes the result as JSON and as a page; returns both paths.

    Raises:
        StartupError: a file cannot be written; names it.
    """
    contents = {RESULT_FILE: result.model_dump_json(indent=2) + "\n", PAGE_FILE: render(result)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{error.filename}: cannot be written: {error.strerror}") from error
    return [folder / name for name in contents]


def _replayed(
    console: Console, settings: Settings, options: ReplayOptions, records: Sequence[Record]
) -> ReplayResult:
    with counting_bar(console, "requests", len(records)) as watch:
        return asyncio.run(run_replay(settings, options, records, watch))


def _store(path: Path, verdict: Verdict) -> str:
    """Stores the verdict where there are versions to be promoted; says whether."""
    if not path.is_file():
        return f"the verdict is not stored: {path} is not there"
    VersionStore(path).add_verdict(verdict)
    return f"the verdict is stored in {path}"


def _print(console: Console, result: ReplayResult, verdict: Verdict) -> None:
    for table in (*tables(result), verdict_table([verdict])):
        show(console, table)
        console.print()
    for line in (*lines(result), summary(verdict)):
        say(console, line)

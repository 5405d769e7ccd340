"""`cartwright replay`: replays, prints, writes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model_build.replay.page import render
from model_build.replay.pairs import Watch
from model_build.replay.report import lines, tables
from model_build.replay.result import ReplayResult
from model_build.replay.run import ReplayOptions, read_newest, run_replay
from serving.cli.connection import JSON_KEY
from serving.cli.render import PLAIN_WIDTH, stdout_console
from serving.errors import StartupError
from serving.recording.recorder import FOLDER
from serving.recording.records import Record
from serving.settings import Settings, load_settings
from serving.triton.server import ServerLost

RESULT_FILE = "replay.json"
PAGE_FILE = "replay.html"
_INTERRUPTED = 130
# Drawing takes CPU time from what is measured.
_REDRAWS_PER_SECOND = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command line."""

    versions: tuple[int, int]
    # None: what the settings say.
    records: Path | None
    repository: Path | None
    since_ms: int | None
    limit: int
    out: Path
    seed: int
    as_json: bool


def replay_and_report(asked: Asked) -> None:
    """Runs the command.

    Raises:
        StartupError: records, versions, tritonserver or the output folder cannot be used.
        click.ClickException: tritonserver ended.
    """
    click.get_current_context().meta[JSON_KEY] = asked.as_json
    # With --json, standard output is one document; what else there is to say goes beside it.
    console = Console(stderr=True, highlight=False) if asked.as_json else stdout_console()
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
        _say(console, f"warning: {problem}")
    try:
        result = _replayed(console, settings, options, records)
    except ServerLost as error:
        raise click.ClickException(f"tritonserver: {error}") from error
    except KeyboardInterrupt:
        _say(console, "interrupted; nothing was written")
        raise SystemExit(_INTERRUPTED) from None
    written = write(result, asked.out)
    if asked.as_json:
        click.echo(result.model_dump_json(indent=2))
        return
    # Lines that a narrow terminal wraps are better than figures cut off.
    width = max(console.width, PLAIN_WIDTH)
    for table in tables(result):
        console.print(table, width=width, crop=False)
        console.print()
    for line in (*lines(result), *(f"wrote {path}" for path in written)):
        _say(console, line)


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
    with _bar(console, len(records)) as watch:
        return asyncio.run(run_replay(settings, options, records, watch))


@contextmanager
def _bar(console: Console, requests: int) -> Iterator[Watch]:
    """A bar of the requests that are done; on what is no terminal only its end is printed."""
    progress = Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=_REDRAWS_PER_SECOND,
    )
    with progress:
        task = progress.add_task("requests", total=requests)
        yield lambda done, of: progress.update(task, completed=done)


def _say(console: Console, line: str) -> None:
    console.print(escape(line), highlight=False, soft_wrap=True)

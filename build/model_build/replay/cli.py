"""`cartwright replay`: its options. The rest is imported when it is called, not for help."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from model_build.options import json_option, repository_option, seed_option

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


class Versions(click.ParamType[tuple[int, int]]):
    """Two versions by their numbers."""

    name = "old,new"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Both numbers, in the order given."""
        match = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", str(value))
        if match is None:
            self.fail(f"{value!r}: must be two version numbers, separated by a comma", param, ctx)
        first, second = int(match[1]), int(match[2])
        if first == second:
            self.fail(f"{value!r}: a version cannot be compared with itself", param, ctx)
        return first, second


class Moment(click.ParamType[int]):
    """A moment: ISO 8601 (UTC if it names no zone), or how long ago."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Unix time in milliseconds."""
        ago = re.fullmatch(r"(\d{1,6})([mhd])", str(value))
        if ago is not None:
            return int((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r}: must be a time such as 2030-05-31T12:00, or how long ago: 90m, 24h, "
                "7d",
                param,
                ctx,
            )
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command("replay")
@click.option(
    "--model", type=click.Choice(["understanding"]), default="understanding", show_default=True
)
@click.option(
    "--versions",
    type=Versions(),
    required=True,
    help="The version to compare with, and the new one: 3,4.",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of recorded requests.  [default: below the settings' stores.folder]",
)
@click.option(
    "--since",
    type=Moment(),
    help="Only requests since then: 2030-05-31T12:00 (UTC), or how long ago: 90m, 24h, 7d.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Only the newest so many requests.",
)
@click.option(
    "--disagree",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of requests in which the new version may differ.",
)
@repository_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for replay.json and replay.html.  [default: var/replay/MODEL-OLD-NEW]",
)
@seed_option
@json_option
def replay_command(
    model: str,
    versions: tuple[int, int],
    records: Path | None,
    since: int | None,
    limit: int,
    disagree: float,
    repository: Path | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Ask two versions of a model what customers asked, and list where they disagree.

    Both are hosted on a tritonserver of its own and asked in turn, request by request. The texts
    are the masked ones that the running stack has recorded. The verdict about the new version is
    stored where promotions look for it; exits with 1 unless it is `passed`.
    """
    try:
        from model_build.replay.command import Asked, replay_and_report
    except ImportError as error:
        raise click.ClickException(
            f"'replay' cannot be loaded ({error}); is its extra installed?"
        ) from error

    replay_and_report(
        Asked(
            versions=versions,
            records=records,
            since_ms=since,
            limit=limit,
            disagree=disagree,
            repository=repository,
            out=out or Path("var/replay") / f"{model}-{versions[0]}-{versions[1]}",
            seed=seed,
            as_json=as_json,
        )
    )

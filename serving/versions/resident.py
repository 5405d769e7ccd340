"""From line-ups to what has to be loaded, and what is live when nobody has decided it yet."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from serving.errors import StartupError
from serving.models.repository import ModelRepository
from serving.versions.lineup import Lineup
from serving.versions.store import Entry, VersionStore

# Author of the steps that the stack takes by itself.
AUTHOR = "cartwright"


def resident_versions(entries: Mapping[str, Entry]) -> dict[str, tuple[int, ...]]:
    """By model, the versions that hosts have loaded."""
    return {model: entry.lineup.resident for model, entry in entries.items()}


def adopt_newest(store: VersionStore, models: ModelRepository, names: Iterable[str]) -> None:
    """Makes the newest published version of each model live, as long as nobody has promoted one.

    From the first step that somebody takes, a model follows its line-up alone.

    Raises:
        StartupError: a model has no published version, or its live one is not there any more.
        StoreUnavailable: the store cannot be read or written.
    """
    known = store.read_all()
    for name in names:
        versions = models.versions(name)
        if not versions:
            raise models.missing(name)
        entry = known.get(name)
        if entry is None or store.only_by(name, AUTHOR):
            newest = versions[-1]
            if entry is None or entry.lineup.live != newest:
                store.apply(
                    name,
                    partial(_adopted, version=newest),
                    action=f"adopt {newest}",
                    author=AUTHOR,
                    reason="the newest published version, since nobody has promoted one",
                )
        elif entry.lineup.live not in versions:
            raise StartupError(
                f"{models.root / name}: version {entry.lineup.live} is live "
                f"(by {entry.author}), but not published any more; put its folder back"
            )


def _adopted(lineup: Lineup, version: int) -> Lineup:
    staged = tuple(v for v in lineup.known if v != version)
    return replace(
        lineup,
        live=version,
        previous=None,
        candidate=None,
        canary_percent=0.0,
        salt="",
        staged=staged,
    )

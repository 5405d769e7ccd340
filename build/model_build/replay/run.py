"""A replay from its options to its result: reads records, hosts both versions, asks, compares."""

import heapq
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model_build.replay.compare import Circumstances, compare
from model_build.replay.differences import Limits
from model_build.replay.host import host_versions
from model_build.replay.pairs import Watch, replay
from model_build.replay.result import ReplayResult
from model_build.serving_profile import TunedHosting, spec_hosting, tuned_hosting
from model_build.spec import ModelSpec
from model_build.specs import SPECS
from serving.assets import UnderstandingAssets, load_assets
from serving.errors import StartupError
from serving.models.client import ModelClient
from serving.models.repository import ModelRepository, PublishedVersion
from serving.recording.reader import Recording
from serving.recording.records import Record
from serving.settings import Settings
from serving.steps.understand import MODEL, Understand


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """What is replayed through what."""

    repository: Path
    # Numbers of the versions: the one that is compared with, and the one that is new.
    versions: tuple[int, int]
    records: Path
    # Unix time in milliseconds; None: from the beginning.
    since_ms: int | None
    # The newest so many.
    limit: int
    # Decides which version is asked first.
    seed: int


async def run_replay(
    settings: Settings, options: ReplayOptions, records: Sequence[Record], watch: Watch
) -> ReplayResult:
    """Runs the records through both versions of `understanding` on a tritonserver of its own.

    Raises:
        StartupError: a version is not published, corrupt or cannot be loaded, or there is no
            tritonserver that can run here.
        ServerLost: the server ended.
    """
    spec = SPECS[MODEL]
    versions = published(options.repository, MODEL, options.versions)
    hosting = _hosting(options.repository, spec)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cartwright-replay-") as scratch:
        async with host_versions(settings.triton, Path(scratch), spec, hosting, versions) as trial:
            first, second = (
                _step(client, version)
                for client, version in zip(trial.clients, versions, strict=True)
            )
            work = replay(records, first, second, random.Random(options.seed), watch)
            pairs = await trial.server.while_running(work)
    old, new = versions
    circumstances = Circumstances(
        first=old.manifest,
        second=new.manifest,
        limits=Limits(out_of_scope_probability=settings.dialogue.max_out_of_scope_probability),
        tritonserver=trial.tritonserver,
        replayed_at=datetime.now(UTC).replace(microsecond=0),
        seconds=time.monotonic() - began_s,
    )
    return compare(pairs, circumstances)


def read_newest(options: ReplayOptions) -> tuple[list[Record], list[str]]:
    """The newest records of the model, the oldest of them first, and what could not be read.

    Raises:
        StartupError: the folder cannot be read, or there is no such record.
    """
    recording = Recording(options.records)
    # By arrival: segments of several replicas cover the same time.
    records = heapq.nlargest(
        options.limit,
        recording.records(model=MODEL, since_ms=options.since_ms),
        key=lambda record: record.arrived_at_ms,
    )
    records.reverse()
    if not records:
        since = "" if options.since_ms is None else " that arrived since then"
        raise StartupError(
            f"{options.records}: there are no recorded requests to {MODEL}{since}; `cartwright "
            "serve` records some of what it serves, unless recording.enabled is false"
        )
    return records, recording.problems


def published(repository: Path, model: str, numbers: Sequence[int]) -> tuple[PublishedVersion, ...]:
    """Published versions by their numbers.

    Raises:
        StartupError: one is not published; says which are.
    """
    models = ModelRepository(repository)
    there = models.versions(model)
    for number in numbers:
        if number not in there:
            known = ", ".join(map(str, there)) or "none"
            raise StartupError(
                f"{repository}: version {number} of {model} is not published (published: {known})"
            )
    return tuple(models.version(model, number) for number in numbers)


def _hosting(repository: Path, spec: ModelSpec) -> TunedHosting:
    """As in use, with one instance: there is only ever one request under way."""
    in_use = tuned_hosting(repository, spec, "cpu") or spec_hosting(spec, "cpu")
    return in_use.model_copy(update={"instances": 1})


def _step(client: ModelClient, version: PublishedVersion) -> Understand:
    """The request path's step, with the version's own tokenizer and labels."""
    assets = load_assets(version)
    if not isinstance(assets, UnderstandingAssets):
        raise StartupError(f"{version.folder}: only understanding can be replayed")
    return Understand(client, assets.tokenizer, assets.labels)

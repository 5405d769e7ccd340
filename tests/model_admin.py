"""The admin of models over files in a folder, for tests."""

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion
from serving.rollout.conductor import Ratings, RolloutJudge
from serving.rollout.counts_file import FILE_NAME as COUNTS_FILE_NAME
from serving.rollout.counts_file import CountsFile
from serving.settings import RolloutSettings
from serving.triton.records import HostRecord
from serving.versions.admin import ModelAdmin
from serving.versions.readiness import Readiness
from serving.versions.store import FILE_NAME, VersionStore
from serving.versions.verdict import Gate


def no_ratings(_model: str, _since_ms: int) -> Ratings:
    """Nobody has rated anything."""
    return {}


def model_admin(
    folder: Path,
    models: Path,
    names: Sequence[str],
    hosts: Callable[[], Sequence[HostRecord]] = list,
    opened: Callable[[], Container[ModelVersion]] = tuple,
    faults: Callable[[], Mapping[ModelVersion, str]] = dict,
    gates: Sequence[Gate] = (),
    rollout: RolloutSettings | None = None,
    ratings: Callable[[str, int], Ratings] = no_ratings,
) -> ModelAdmin:
    """Line-ups and counts lie in `folder`, versions in `models`."""
    return ModelAdmin(
        VersionStore(folder / FILE_NAME),
        ModelRepository(models),
        names,
        Readiness(hosts, faults, opened),
        RolloutJudge(CountsFile(folder / COUNTS_FILE_NAME), ratings, rollout or RolloutSettings()),
        gates,
    )

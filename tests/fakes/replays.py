"""Results of replays that nobody ran: pairs of answers of versions 3 and 4 of `understanding`."""

from datetime import UTC, datetime

from model_build.replay.compare import Circumstances, compare
from model_build.replay.differences import Limits
from model_build.replay.pairs import Answered, Pair
from model_build.replay.result import ReplayResult
from serving.models.manifest import ArtifactRecord
from serving.types import Understanding
from tests.recordings import record
from tests.tiny_models import manifest


def answer(intent: str = "track_order", **changes: object) -> Understanding:
    values: dict[str, object] = {"intent": intent, "intent_confidence": 0.9}
    return Understanding(**{**values, **changes})  # type: ignore[arg-type]


def answered(understanding: Understanding | None, duration_ms: float = 5.0) -> Answered:
    failure = "" if understanding else "DeadlineExceeded: time ran out"
    return Answered(understanding=understanding, failure=failure, duration_ms=duration_ms)


def pair(
    text: str, first: Understanding | None, second: Understanding | None, **of_the_record: object
) -> Pair:
    return Pair(
        record=record(text, **of_the_record), first=answered(first), second=answered(second, 7.0)
    )


def result_of(*pairs: Pair) -> ReplayResult:
    artifact = ArtifactRecord(kind="onnx", path="model.onnx", sha256="ab" * 32, size_bytes=1)
    first, second = (
        manifest("understanding", version=version, artifacts=[artifact]) for version in (3, 4)
    )
    circumstances = Circumstances(
        first=first,
        second=second,
        limits=Limits(out_of_scope_probability=0.6),
        tritonserver="2.51.0",
        replayed_at=datetime(2030, 5, 31, 12, tzinfo=UTC),
        seconds=1.5,
    )
    return compare(pairs, circumstances)

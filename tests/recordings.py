"""Records and recorders for tests."""

from pathlib import Path
from typing import Any

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.recording.masking import Masker
from serving.recording.recorder import Recorder
from serving.recording.records import Record
from serving.recording.sampling import Sampler
from serving.recording.segments import SegmentWriter
from serving.settings import RecordingSettings

KEY = b"0123456789abcdef"


def writer(folder: Path, **changes: Any) -> SegmentWriter:
    """A writer that rotates by nothing unless it is told to."""
    bounds: dict[str, Any] = {
        "segment_max_bytes": 10**9,
        "segment_max_age_s": 10**9,
        "max_bytes": 10**10,
    }
    return SegmentWriter(folder, **{**bounds, **changes})


def recorder(folder: Path, masker: Masker | None = None, **changes: Any) -> Recorder:
    """A recorder that takes everything unless it is told otherwise."""
    settings = RecordingSettings(per_second=10**9, **changes)
    sampler = Sampler(settings.share, settings.per_second)
    return Recorder(settings, masker or Masker(KEY), sampler, writer(folder))


def answered(version: int | None = 3, trace_id: str = "") -> RequestContext:
    """The context of a request that a version of `understanding` has answered."""
    context = RequestContext(deadline=Deadline.after_ms(1000), trace_id=trace_id)
    if version is not None:
        context.model_versions["understanding"] = version
    return context


def record(text: str = "where is it", **changes: Any) -> Record:
    """A record."""
    values: dict[str, Any] = {
        "arrived_at_ms": 1_900_000_000_000,
        "trace_id": "",
        "method": "Understand",
        "model": "understanding",
        "version": 1,
        "arm": "live",
        "text": text,
        "answer": None,
    }
    return Record(**{**values, **changes})

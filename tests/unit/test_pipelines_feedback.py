"""Feedback: masked, attributed to versions, stored whole or not at all."""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from serving.errors import DeadlineExceeded, InvalidRequest, StoreUnavailable
from serving.ledger.writer import Ledger
from serving.pipelines import feedback as pipeline_module
from serving.pipelines.events import MAX_AHEAD_MS
from serving.pipelines.feedback import RecordFeedbackPipeline
from serving.stores.protocols import RatedRequest
from serving.types import Feedback
from tests.fakes.stores import MemoryFeedback
from tests.fakes.world import MASKER, context
from tests.ledger_entries import entry, settings, trace_of

NAMED = "I am Anna Schmidt, write to anna@example.org: order 4711234 never came"


@pytest.fixture
def store() -> MemoryFeedback:
    return MemoryFeedback()


def rating(number: int, helpful: bool = False, comment: str = "") -> Feedback:
    return Feedback(trace_id=trace_of(number), helpful=helpful, comment=comment, occurred_at_ms=9)


async def test_feedback_counts_for_the_versions_that_answered(
    tmp_path: Path, store: MemoryFeedback
) -> None:
    ledger = Ledger(settings(tmp_path), "{}")
    ledger.append(entry(1))
    record = RecordFeedbackPipeline(store, MASKER, tmp_path)
    recorded = await record([rating(1), rating(2), rating(2, helpful=True)], context())
    assert (recorded.recorded, recorded.unknown_trace_ids) == (3, (trace_of(2),))
    assert store.counts("understanding", 0) == {(3, "live"): (1, 1)}
    # Answered in the meantime, and so known now.
    ledger.append(entry(2))
    again = await record([rating(2)], context())
    assert (again.recorded, again.unknown_trace_ids) == (1, ())
    assert store.counts("understanding", 0) == {(3, "live"): (2, 2)}
    ledger.close()


async def test_without_a_ledger_everything_is_unknown_and_kept(store: MemoryFeedback) -> None:
    recorded = await RecordFeedbackPipeline(store, MASKER, None)([rating(1)], context())
    assert (recorded.recorded, recorded.unknown_trace_ids) == (1, (trace_of(1),))
    assert list(store.ratings) == [trace_of(1)]


async def test_comments_are_masked_before_they_are_stored(store: MemoryFeedback) -> None:
    await RecordFeedbackPipeline(store, MASKER, None)([rating(1, comment=NAMED)], context())
    kept = store.ratings[trace_of(1)].comment
    assert kept == MASKER.mask(NAMED).text
    for secret in ("Anna", "Schmidt", "anna@example.org", "4711234"):
        assert secret not in kept
    assert kept.endswith("never came")


async def test_a_time_far_ahead_would_stay_the_newest_for_ever(store: MemoryFeedback) -> None:
    ahead = Feedback(
        trace_id=trace_of(1),
        helpful=True,
        occurred_at_ms=int(time.time() * 1000) + MAX_AHEAD_MS + 60_000,
    )
    with pytest.raises(InvalidRequest) as caught:
        await RecordFeedbackPipeline(store, MASKER, None)([rating(2), ahead], context())
    assert caught.value.field == "feedback[1].occurred_at_ms"
    assert store.ratings == {}


async def test_the_search_leaves_time_for_storing(
    store: MemoryFeedback, monkeypatch: pytest.MonkeyPatch
) -> None:
    until: list[float] = []
    threads: list[str] = []

    def find(_folder: Path, _trace_ids: object, until_s: float) -> dict[str, object]:
        until.append(until_s - time.monotonic())
        threads.append(threading.current_thread().name)
        return {}

    monkeypatch.setattr(pipeline_module, "find_answered", find)
    record = RecordFeedbackPipeline(store, MASKER, Path("ledger"))
    await record([rating(1)], context(400))
    await record([rating(1)], context(60_000))
    assert until[0] <= 0.2
    assert 0.2 < until[1] <= 1.0
    # Away from the event loop, and one at a time.
    assert threads == ["feedback_0"] * 2


async def test_no_time_left_begins_nothing(store: MemoryFeedback) -> None:
    with pytest.raises(DeadlineExceeded, match="storing the feedback"):
        await RecordFeedbackPipeline(store, MASKER, None)([rating(1)], context(-math.inf))
    assert store.ratings == {}


class FullStore(MemoryFeedback):
    """A store whose disk is full."""

    async def record(self, rated: Sequence[RatedRequest]) -> int:
        raise StoreUnavailable("the disk is full")


async def test_what_cannot_be_stored_is_not_acknowledged() -> None:
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await RecordFeedbackPipeline(FullStore(), MASKER, None)([rating(1)], context())


async def test_a_ledger_that_cannot_be_read_is_an_error(
    tmp_path: Path, store: MemoryFeedback
) -> None:
    (tmp_path / "ledger").write_text("no folder")
    with pytest.raises(StoreUnavailable, match="ledger"):
        await RecordFeedbackPipeline(store, MASKER, tmp_path / "ledger")([rating(1)], context())
    assert store.ratings == {}

"""RecordFeedback: ratings ─▶ check ─▶ mask ─▶ which versions answered? ─▶ store."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from serving.context import RequestContext, observe_step
from serving.errors import InvalidRequest
from serving.ledger.lookup import find_answered
from serving.pipelines.events import MAX_AHEAD_MS
from serving.recording.masking import Masker
from serving.stores.protocols import FeedbackStore, RatedRequest
from serving.types import Feedback

# Longest search of the ledger; a request that is not found by then counts as unknown.
_MAX_SEARCH_MS = 1000.0
# Of the time that is left; the rest is for storing.
_SEARCH_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class RecordedFeedback:
    """What became of a batch of feedback."""

    # All but what is older than the rating that its request has already.
    recorded: int
    # Requests of which no version is known, each once.
    unknown_trace_ids: tuple[str, ...]


class RecordFeedbackPipeline:
    """Takes what customers think of replies."""

    def __init__(self, store: FeedbackStore, masker: Masker, ledger: Path | None) -> None:
        """Reads nothing yet.

        Args:
            store: keeps it.
            masker: of the comments.
            ledger: folder of the ledger; None without one, and then every request is unknown.
        """
        self._store = store
        self._masker = masker
        self._ledger = ledger
        # One, so that a flood of feedback never takes more than that from those who want answers.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")

    async def __call__(
        self, feedback: Sequence[Feedback], context: RequestContext
    ) -> RecordedFeedback:
        """Stores all of it or nothing; durable once this returns.

        Raises:
            InvalidRequest: a time is more than a day ahead.
            StoreUnavailable: it cannot be written, or the ledger cannot be read.
        """
        latest_ms = int(time.time() * 1000) + MAX_AHEAD_MS
        for index, one in enumerate(feedback):
            if one.occurred_at_ms > latest_ms:
                raise InvalidRequest(
                    f"feedback[{index}].occurred_at_ms",
                    f"{one.occurred_at_ms} is more than a day ahead",
                )
        context.deadline.require(0.0, "storing the feedback")
        search_ms = min(_MAX_SEARCH_MS, _SEARCH_SHARE * context.deadline.remaining_ms())
        until_s = time.monotonic() + search_ms / 1000.0
        with observe_step(context, "find_requests"):
            rated = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._rated, feedback, until_s
            )
        with observe_step(context, "store_feedback"):
            recorded = await self._store.record(rated)
        unknown = dict.fromkeys(one.feedback.trace_id for one in rated if not one.versions)
        return RecordedFeedback(recorded=recorded, unknown_trace_ids=tuple(unknown))

    def _rated(self, feedback: Sequence[Feedback], until_s: float) -> list[RatedRequest]:
        """In the thread: masks the comments, and looks the requests up in the ledger."""
        masked = [replace(one, comment=self._masker.mask(one.comment).text) for one in feedback]
        trace_ids = {one.trace_id for one in masked}
        found = {}
        if self._ledger is not None:
            found = find_answered(self._ledger, trace_ids, until_s)
        rated = []
        for one in masked:
            answered = found.get(one.trace_id)
            if answered is None:
                rated.append(RatedRequest(feedback=one))
            else:
                rated.append(
                    RatedRequest(
                        feedback=one, answered_at_ms=answered.at_ms, versions=answered.versions
                    )
                )
        return rated

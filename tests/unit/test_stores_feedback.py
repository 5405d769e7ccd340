"""Ratings as every implementation counts them: the newest of a request, by version and arm."""

import pytest

from serving.stores.protocols import RatedRequest
from serving.types import Feedback
from tests.store_kinds import Stores

LIVE_3 = ("understanding", 3, "live")
CANARY_4 = ("understanding", 4, "canary")
RANKER_1 = ("ranker", 1, "live")


def rated(
    trace_id: str,
    helpful: bool,
    *versions: tuple[str, int, str],
    given_at_ms: int = 10,
    answered_at_ms: int = 5,
    comment: str = "",
) -> RatedRequest:
    feedback = Feedback(
        trace_id=trace_id, helpful=helpful, comment=comment, occurred_at_ms=given_at_ms
    )
    return RatedRequest(feedback=feedback, answered_at_ms=answered_at_ms, versions=versions)


async def test_ratings_are_counted_by_version_and_arm(stores: Stores) -> None:
    recorded = await stores.feedback.record(
        [
            rated("a", True, LIVE_3, RANKER_1),
            rated("b", False, LIVE_3, RANKER_1),
            rated("c", False, CANARY_4, RANKER_1),
            rated("d", False, ("understanding", 4, "pinned")),
            rated("e", False),
        ]
    )
    assert recorded == 5
    assert stores.feedback.counts("understanding", 0) == {
        (3, "live"): (1, 2),
        (4, "canary"): (1, 1),
        (4, "pinned"): (1, 1),
    }
    assert stores.feedback.counts("ranker", 0) == {(1, "live"): (2, 3)}
    assert stores.feedback.counts("decision", 0) == {}
    assert await stores.feedback.record([]) == 0


async def test_ratings_are_counted_from_the_moment_of_the_answer_on(stores: Stores) -> None:
    await stores.feedback.record(
        [
            # Rated late and answered early, and the other way round.
            rated("a", False, LIVE_3, given_at_ms=900, answered_at_ms=99),
            rated("b", True, LIVE_3, given_at_ms=100, answered_at_ms=100),
        ]
    )
    counts = stores.feedback.counts
    assert counts("understanding", 99) == {(3, "live"): (1, 2)}
    assert counts("understanding", 100) == {(3, "live"): (0, 1)}
    assert counts("understanding", 101) == {}


@pytest.mark.parametrize(
    ("second_at_ms", "recorded", "counted"), [(9, 0, (1, 1)), (10, 1, (0, 1)), (11, 1, (0, 1))]
)
async def test_the_newest_rating_of_a_request_counts(
    stores: Stores, second_at_ms: int, recorded: int, counted: tuple[int, int]
) -> None:
    assert await stores.feedback.record([rated("a", False, CANARY_4)]) == 1
    again = rated("a", True, CANARY_4, given_at_ms=second_at_ms)
    assert await stores.feedback.record([again]) == recorded
    assert stores.feedback.counts("understanding", 0) == {(4, "canary"): counted}


async def test_a_rating_twice_in_a_batch_counts_once(stores: Stores) -> None:
    batch = [rated("a", True, LIVE_3, given_at_ms=7), rated("a", False, LIVE_3, given_at_ms=8)]
    assert await stores.feedback.record(batch) == 2
    assert await stores.feedback.record(batch) == 1
    assert stores.feedback.counts("understanding", 0) == {(3, "live"): (1, 1)}


async def test_versions_are_remembered_when_the_ledger_has_forgotten(stores: Stores) -> None:
    await stores.feedback.record([rated("a", True, LIVE_3, answered_at_ms=50)])
    await stores.feedback.record([rated("a", False, given_at_ms=20, answered_at_ms=0)])
    assert stores.feedback.counts("understanding", 50) == {(3, "live"): (1, 1)}
    # What was unknown at first, and is known now, counts from now on.
    await stores.feedback.record([rated("b", False)])
    await stores.feedback.record([rated("b", False, LIVE_3, answered_at_ms=60)])
    assert stores.feedback.counts("understanding", 50) == {(3, "live"): (2, 2)}


async def test_feedback_without_a_time_was_given_now(stores: Stores) -> None:
    await stores.feedback.record([rated("a", True, LIVE_3, given_at_ms=0)])
    assert await stores.feedback.record([rated("a", False, LIVE_3, given_at_ms=10)]) == 0
    assert await stores.feedback.record([rated("a", False, LIVE_3, given_at_ms=0)]) == 1
    assert stores.feedback.counts("understanding", 0) == {(3, "live"): (1, 1)}

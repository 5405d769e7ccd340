"""What is counted of versions on trial: by arm, over processes, since a stage began."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import StoreUnavailable
from serving.rollout.counts import ArmCounts, Counts, ShadowCounts
from serving.rollout.counts_file import CountsFile, keep_writing
from serving.rollout.durations import BUCKETS, bucket_of, edge_ms, quantile_bucket
from serving.rollout.tally import Tally
from serving.types import Arm, Choice
from serving.versions.arms import choose
from serving.versions.lineup import Lineup
from tests.waiting import until

MODEL = "understanding"
CANARY = Lineup(model=MODEL, live=1, candidate=2, canary_percent=50.0, salt="s")
KEY = (MODEL, "s")


# ---- durations ---------------------------------------------------------------------------------


@given(st.floats(0.0, 50_000.0))
def test_a_duration_lies_between_the_edges_of_its_bucket(duration_ms: float) -> None:
    bucket = bucket_of(duration_ms)
    assert duration_ms <= edge_ms(bucket) * (1 + 1e-12)
    if bucket:
        assert duration_ms > edge_ms(bucket - 1) * (1 - 1e-12)


def test_what_takes_too_long_for_every_bucket_lies_in_the_last_one() -> None:
    assert bucket_of(1e9) == BUCKETS - 1


def test_a_quantile_is_the_edge_up_to_which_the_share_lies() -> None:
    counts = [0, 98, 1, 1, 0]
    assert quantile_bucket(counts, 0.98) == 1
    assert quantile_bucket(counts, 0.99) == 2
    assert quantile_bucket(counts, 1.0) == 3
    with pytest.raises(ValueError, match="no duration"):
        quantile_bucket([0, 0], 0.5)


# ---- counts ------------------------------------------------------------------------------------


def some_counts(scale: int) -> Counts:
    live, candidate = ArmCounts(), ArmCounts()
    for number in range(5 * scale):
        live.add("Converse", 10.0 + number, bad=number % 7 == 3)
        candidate.add("Understand" if number % 2 else "Converse", 20.0, bad=False)
    shadow = ShadowCounts(
        of=4 * scale, failed=scale, answered=3 * scale, disagreed=scale, slower=scale, faster=1
    )
    return Counts(live=live, candidate=candidate, shadow=shadow)


def test_counts_are_added_and_taken_off_and_come_back_from_a_file() -> None:
    early, late = some_counts(3), some_counts(10)
    assert early.plus(late).since(early).shadow == late.shadow
    again = early.plus(late).since(early)
    assert again.live == late.live
    assert again.candidate == late.candidate
    assert Counts.from_json(late.to_json()) == late
    # A failed answer's duration says nothing.
    assert sum(map(sum, late.live.durations.values())) == late.live.of - late.live.bad


def test_counts_of_all_processes_are_added_up(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "counts.sqlite")
    assert file.total(*KEY) == Counts()
    file.put("a", {KEY: some_counts(1).to_json(), (MODEL, "other"): some_counts(9).to_json()})
    file.put("b", {KEY: some_counts(2).to_json()})
    # In place of what it wrote before.
    file.put("a", {KEY: some_counts(3).to_json()})
    assert CountsFile(tmp_path / "counts.sqlite").total(*KEY) == some_counts(3).plus(some_counts(2))


def test_a_file_that_holds_no_counts_is_named(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "counts.sqlite")
    file.put("a", {KEY: b'{"live": 3}'})
    with pytest.raises(StoreUnavailable, match=r"counts\.sqlite: counts of understanding: "):
        file.total(*KEY)
    (tmp_path / "none.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"none\.sqlite: file is not a database"):
        CountsFile(tmp_path / "none.sqlite")


async def test_a_process_writes_what_it_counts_while_something_is_tried(tmp_path: Path) -> None:
    tried: dict[str, Lineup] = {}
    tally = Tally(lambda: tried)
    file = CountsFile(tmp_path / "counts.sqlite")
    writing = asyncio.create_task(keep_writing(tally.current, file, period_s=0.01))
    tried[MODEL] = CANARY
    tally.shadowed(MODEL, 2, True, 3.0, 3.0)
    await until(lambda: file.total(*KEY).shadow.of == 1)
    tally.shadowed(MODEL, 2, None, 3.0, 3.0)
    await until(lambda: file.total(*KEY).shadow.failed == 1)
    assert not writing.done()
    writing.cancel()


# ---- tally -------------------------------------------------------------------------------------


def tally_of(lineup: Lineup) -> Tally:
    return Tally(lambda: {lineup.model: lineup})


def counted(tally: Tally) -> Counts:
    found: Mapping[tuple[str, str], bytes] = tally.current()
    return Counts.from_json(found[KEY]) if KEY in found else Counts()


def customer_in(arm: Arm) -> str:
    names = (f"customer-{number}" for number in range(100))
    return next(
        name for name in names if (made := choose(CANARY, name)) is not None and made.arm is arm
    )


def request_of(customer: str, choice: Choice | None) -> RequestContext:
    context = RequestContext(deadline=Deadline.after_ms(5000), customer=customer, trace_id="t")
    if choice is not None:
        context.choices[MODEL] = choice
    return context


LIVE, CANDIDATE = Choice(1, Arm.LIVE), Choice(2, Arm.CANARY)


def test_answers_count_for_the_arm_of_their_customer() -> None:
    tally = tally_of(CANARY)
    tally.answered("Converse", request_of(customer_in(Arm.LIVE), LIVE), "OK", 12.0)
    tally.answered("Converse", request_of(customer_in(Arm.CANARY), CANDIDATE), "OK", 30.0)
    tally.answered("Converse", request_of(customer_in(Arm.CANARY), CANDIDATE), "INTERNAL", 1.0)
    degraded = request_of(customer_in(Arm.CANARY), CANDIDATE)
    degraded.degrade("understand", "no answer", "clarify")
    tally.answered("Converse", degraded, "OK", 30.0)
    counts = counted(tally)
    assert (counts.live.of, counts.live.bad) == (1, 0)
    assert (counts.candidate.of, counts.candidate.bad) == (3, 2)
    assert counts.candidate.durations["Converse"][bucket_of(30.0)] == 1


def test_when_another_version_stands_in_that_speaks_against_the_one_that_should_have() -> None:
    tally = tally_of(CANARY)
    standby = Choice(1, Arm.STANDBY)
    tally.answered("Converse", request_of(customer_in(Arm.CANARY), standby), "OK", 12.0)
    tally.answered("Converse", request_of(customer_in(Arm.LIVE), standby), "OK", 12.0)
    counts = counted(tally)
    assert (counts.candidate.of, counts.candidate.bad) == (1, 1)
    assert (counts.live.of, counts.live.bad) == (1, 1)


def test_what_failed_before_it_told_its_choice_counts_for_its_customers_arm() -> None:
    tally = tally_of(CANARY)
    late = request_of(customer_in(Arm.CANARY), None)
    late.degrade("understand", "not in time", "clarify")
    tally.answered("Converse", late, "OK", 500.0)
    counts = counted(tally)
    assert (counts.candidate.of, counts.candidate.bad) == (1, 1)
    assert counts.live == ArmCounts()


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "CANCELLED", "FAILED_PRECONDITION"])
def test_what_a_caller_did_says_nothing_of_a_version(code: str) -> None:
    tally = tally_of(CANARY)
    tally.answered("Converse", request_of(customer_in(Arm.LIVE), LIVE), code, 12.0)
    assert counted(tally) == Counts()


def test_requests_that_belong_to_no_arm_are_not_counted() -> None:
    tally = tally_of(CANARY)
    live_customer = customer_in(Arm.LIVE)
    # Never came to the model; chose before the last step was known.
    for choice in (None, CANDIDATE, Choice(7, Arm.LIVE)):
        tally.answered("Converse", request_of(live_customer, choice), "OK", 12.0)
    asked_for = replace(request_of(live_customer, Choice(2, Arm.PINNED)), pinned={MODEL: 2})
    tally.answered("Converse", asked_for, "INTERNAL", 12.0)
    assert counted(tally) == Counts()
    nothing_tried = Tally(dict)
    nothing_tried.answered("Converse", request_of(live_customer, LIVE), "OK", 12.0)
    assert nothing_tried.current() == {}


def test_a_shadow_counts_by_what_came_of_it() -> None:
    tally = tally_of(CANARY)
    for agreed, candidate_ms, live_ms in (
        (True, 10.0, 10.0),
        (False, 10.0, 10.0),
        # Half as long again is not yet much longer, with a few milliseconds of grace.
        (True, 19.0, 10.0),
        (True, 21.0, 10.0),
        (True, 10.0, 21.0),
        (None, 900.0, 10.0),
    ):
        tally.shadowed(MODEL, 2, agreed, candidate_ms, live_ms)
    # Of a version that is not tried any more, and of another model.
    tally.shadowed(MODEL, 3, True, 1.0, 1.0)
    tally.shadowed("ranker", 2, True, 1.0, 1.0)
    assert counted(tally).shadow == ShadowCounts(
        of=6, failed=1, answered=5, disagreed=1, slower=1, faster=1
    )


def test_another_experiment_begins_at_nought() -> None:
    tried = {MODEL: CANARY}
    tally = Tally(lambda: tried)
    tally.shadowed(MODEL, 2, True, 1.0, 1.0)
    tried[MODEL] = Lineup(model=MODEL, live=1, candidate=2, canary_percent=50.0, salt="new")
    assert tally.current() == {}
    tally.shadowed(MODEL, 2, True, 1.0, 1.0)
    assert list(tally.current()) == [(MODEL, "new")]

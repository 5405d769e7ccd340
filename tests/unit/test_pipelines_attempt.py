import asyncio
import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
    SessionConflict,
    StoreUnavailable,
    Unavailable,
)
from serving.pipelines.attempt import NEEDED_MS, REPLY_MS, SHARE, allowance_ms, attempt
from tests.fakes.world import context

STEPS = st.lists(st.sampled_from(sorted(NEEDED_MS)), max_size=4)


class Scripted:
    """A step that raises what it is told to, or gives the time that it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0

    async def __call__(self, request: str, context: RequestContext) -> float:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return context.deadline.remaining_ms()


async def run(step: Scripted, request: RequestContext, then: tuple[str, ...] = ()) -> float | None:
    return await attempt(request, "rank", step, "in", fallback="as it was", then=then)


@given(st.floats(1.0, 600_000.0), STEPS)
def test_a_step_gets_its_share_and_leaves_the_others_what_they_need(
    remaining_ms: float, then: list[str]
) -> None:
    allowed_ms = allowance_ms(remaining_ms, then)
    assert allowed_ms <= SHARE * remaining_ms
    left_ms = remaining_ms - allowed_ms
    assert left_ms == pytest.approx(
        max((1 - SHARE) * remaining_ms, REPLY_MS + sum(NEEDED_MS[s] for s in then)), rel=1e-6
    )


async def test_a_step_sees_the_shortened_deadline_and_reports_into_the_request() -> None:
    request = context(1000)
    given_ms = await run(Scripted(), request, then=("decide",))
    assert given_ms is not None
    assert 700 < given_ms <= SHARE * 1000
    assert request.deadline.remaining_ms() > given_ms
    assert [timing.step for timing in request.timings] == ["rank"]
    assert request.degraded == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelUnavailable("no host has ranker ready"), "no host has ranker ready"),
        (Unavailable("no replica of rank"), "no replica of rank"),
        (Overloaded("queue of ranker is full", 50), "queue of ranker is full"),
        (DeadlineExceeded("ranker took too long"), "ranker took too long"),
        (Internal("secret: row 7 of customers"), "internal error (Internal)"),
        (ModelContractViolated("secret: NaN"), "internal error (ModelContractViolated)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_that_has_a_fallback_is_noted_with_its_reason(
    error: CartwrightError, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = context()
    assert await run(Scripted(error), request) is None
    (noted,) = request.degraded
    assert (noted.step, noted.reason, noted.fallback) == ("rank", reason, "as it was")
    logged = [r for r in caplog.records if r.levelno >= logging.ERROR]
    # The details of a defect are in the log, with the trace id to find them by, and only there.
    assert bool(logged) == isinstance(error, Internal)
    assert all(r.exc_info and request.trace_id in r.getMessage() for r in logged)


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("disk full"),
        SessionConflict("revision moved on"),
        InvalidRequest("category", "unknown"),
        ValueError("a defect"),
        TimeoutError("somebody else's"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_without_a_fallback_is_raised(error: Exception) -> None:
    request = context()
    with pytest.raises(type(error)):
        await run(Scripted(error), request)
    assert request.degraded == []


async def test_a_step_that_cannot_finish_in_time_is_not_started() -> None:
    step, request = Scripted(), context(REPLY_MS + NEEDED_MS["rank"] + NEEDED_MS["decide"] - 0.5)
    assert await run(step, request, then=("decide",)) is None
    assert step.calls == 0
    (noted,) = request.degraded
    assert noted.reason.startswith("not started: ")


@pytest.mark.parametrize("remaining_ms", [-50.0, 0.0, 0.5])
async def test_without_any_time_nothing_replaces_the_step(remaining_ms: float) -> None:
    step, request = Scripted(), context(remaining_ms)
    with pytest.raises(DeadlineExceeded):
        await run(step, request)
    assert step.calls == 0
    assert request.degraded == []


async def test_a_step_that_hangs_is_ended_while_there_is_time_for_the_reply() -> None:
    cancelled = asyncio.Event()

    async def hanging(request: str, context: RequestContext) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return request

    request = context(100)
    assert await attempt(request, "rank", hanging, "in", fallback="as it was") is None
    assert cancelled.is_set()
    assert request.deadline.remaining_ms() > 0
    (noted,) = request.degraded
    assert noted.reason.startswith("did not finish within its ")
    assert [timing.step for timing in request.timings] == ["rank"]


async def test_an_attempt_inside_an_attempt_degrades_the_outer_one_when_time_runs_out() -> None:
    async def outer(value: str, within: RequestContext) -> str:
        # As if the outer step's time had been used up.
        await run(Scripted(), replace(within, deadline=Deadline.after_ms(0)))
        return value

    request = context()
    assert await attempt(request, "recommend", outer, "in", fallback="no items") is None
    assert [(d.step, d.fallback) for d in request.degraded] == [("recommend", "no items")]


async def test_cancelling_the_caller_is_not_a_degradation() -> None:
    started = asyncio.Event()

    async def hanging(value: str, within: RequestContext) -> str:
        started.set()
        await asyncio.Event().wait()
        return value

    request = context()
    task = asyncio.create_task(attempt(request, "rank", hanging, "in", fallback="as it was"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert request.degraded == []

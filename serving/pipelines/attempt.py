"""Runs a step so that its failure costs the reply that step, and not the whole reply.

The one place where a step's error becomes a degradation; the pipelines say what is done instead.

Time: a step gets a shortened deadline, so that a slow model leads to a degraded reply instead of an
error. With `remaining` milliseconds left, it may use at most

    min(SHARE * remaining, remaining - REPLY_MS - sum of NEEDED_MS of the steps that follow)

The share leaves time in proportion (for the way back to the caller, and for a machine under load,
where everything that follows is slow as well); the sum guards short deadlines. A step that would
get less than its own NEEDED_MS is not started.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from serving.context import RequestContext, observe_step
from serving.deadline import Deadline
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    Overloaded,
    SessionConflict,
    StoreUnavailable,
    Unavailable,
)
from serving.time_limit import TimeLimit

# Milliseconds below which a step has no chance to finish, on an idle machine with warm models.
NEEDED_MS = {
    "understand": 4.0,
    "answer": 5.0,
    "retrieve": 4.0,
    "encode": 4.0,
    "recommend": 5.0,
    "generate_candidates": 3.0,
    "rank": 3.0,
    "decide": 2.0,
}
# Composing and saving the reply, and its way to the caller.
REPLY_MS = 5.0
# With less than this left, there is no time for anything, not even for a fallback.
LEAST_MS = 1.0
SHARE = 0.8

_log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


def allowance_ms(remaining_ms: float, then: Sequence[str]) -> float:
    """Milliseconds that a step may use when the steps `then` follow it; may be negative."""
    reserved_ms = REPLY_MS + sum(NEEDED_MS[step] for step in then)
    return min(SHARE * remaining_ms, remaining_ms - reserved_ms)


async def attempt(
    context: RequestContext,
    step: str,
    call: Callable[[In, RequestContext], Awaitable[Out]],
    request: In,
    *,
    fallback: str,
    then: Sequence[str] = (),
) -> Out | None:
    """Runs `call(request, ...)` as the step `step`.

    Args:
        context: the request. What the step reports lands in it.
        step: its name in the reply, a key of `NEEDED_MS`.
        call: the step.
        request: its input.
        fallback: what the caller will do instead, in the reply's words.
        then: the steps that still have to run after this one, one after the other.

    Returns:
        The result, or None when the step has to be replaced; the reply then says why.

    Raises:
        DeadlineExceeded: no time is left for the request, not even for the fallback.
        CartwrightError: what no fallback can help with: an unusable request, an unreadable store.
    """
    remaining_ms = context.deadline.remaining_ms()
    context.deadline.require(LEAST_MS, "a reply")
    allowed_ms = allowance_ms(remaining_ms, then)
    if allowed_ms < NEEDED_MS[step]:
        reason = f"not started: {remaining_ms:.0f} ms left for the whole request"
        context.degrade(step, reason, fallback)
        return None
    within = context.until(Deadline.after_ms(allowed_ms))
    limit = TimeLimit(within.deadline.at_s)
    try:
        with limit, observe_step(within, step) as inner:
            return await call(request, inner)
    except TimeoutError:
        if not limit.expired:
            raise
        reason = f"did not finish within its {allowed_ms:.0f} ms"
    except (StoreUnavailable, SessionConflict):
        raise
    except (Unavailable, Overloaded, DeadlineExceeded, Internal) as error:
        reason = _reason(step, error, context)
    context.deadline.require(0.0, f"what replaces {step}")
    context.degrade(step, reason, fallback)
    return None


def _reason(step: str, error: CartwrightError, context: RequestContext) -> str:
    """The error in words for the caller; the details of a defect stay in the log."""
    if isinstance(error, Internal):
        _log.exception("trace %s: step %s failed", context.trace_id, step)
        return f"internal error ({type(error).__name__})"
    _log.info("trace %s: step %s is replaced: %s", context.trace_id, step, error.message)
    return error.message

"""A step in another process, for its callers the same as one in theirs.

    pipeline ─▶ RemoteStep ─ StepCall ─▶ (any transport) ─▶ StepServer ─▶ step
                    ▲                                            │
                    └────────────── StepOutcome ◀────────────────┘

Free of Ray: the transport is a coroutine function that the wiring hands in. Both envelopes pickle.
An error travels inside the outcome, because a transport would wrap it in a class of its own, and
because what the step had reported until then is wanted too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import CartwrightError, DeadlineExceeded, Internal
from serving.telemetry.spans import TRACEPARENT, outgoing_metadata, remote_parent
from serving.types import Choice, Report

_log = logging.getLogger(__name__)

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
Result = TypeVar("Result")


class Step(Protocol[In, Out]):
    """What a pipeline calls: a step here, or one elsewhere behind a `RemoteStep`."""

    async def __call__(self, request: In, context: RequestContext, /) -> Out:
        """Does the step's work within the context's deadline, or raises a `CartwrightError`."""
        ...


@dataclass(frozen=True, kw_only=True)
class StepCall:
    """One call of a step."""

    # The step's own input type.
    request: Any
    # Time left, rather than a point in time: clocks of two processes do not compare.
    remaining_ms: float
    trace_id: str = ""
    # W3C trace context; None while the request is not traced.
    traceparent: str | None = None
    # Of the request: who asks, which versions were asked for, and which were chosen so far.
    customer: str = ""
    pinned: Mapping[str, int] = field(default_factory=dict)
    choices: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepOutcome(Generic[Result]):
    """What came of a call: a result or an error, and what the step reported either way."""

    result: Result | None = None
    error: CartwrightError | None = None
    report: Report


class RemoteStep(Generic[Result]):
    """The caller's side; a `Step`."""

    def __init__(self, call: Callable[[StepCall], Awaitable[StepOutcome[Result]]]) -> None:
        """`call` carries an envelope to a `StepServer`.

        It raises `CartwrightError`s of its own when it cannot: `Overloaded` for a full queue,
        `Unavailable` when nobody is there.
        """
        self._call = call

    async def __call__(self, request: Any, context: RequestContext, /) -> Result:
        """Runs the step over there and merges its report.

        Raises:
            CartwrightError: the step's own error, of the same class; or the transport's.
        """
        remaining_ms = context.deadline.remaining_ms()
        if remaining_ms <= 0:
            raise DeadlineExceeded("no time left to call a step in another process")
        outcome = await self._call(
            StepCall(
                request=request,
                remaining_ms=remaining_ms,
                trace_id=context.trace_id,
                traceparent=dict(outgoing_metadata(context.span_context)).get(TRACEPARENT),
                customer=context.customer,
                pinned=context.pinned,
                choices=dict(context.choices),
            )
        )
        context.merge(outcome.report)
        if outcome.error is not None:
            raise outcome.error
        if outcome.result is None:
            raise Internal("a step in another process returned neither a result nor an error")
        return outcome.result


class StepServer(Generic[Result]):
    """The callee's side: runs a step under a context made from the envelope."""

    def __init__(self, step: Step[Any, Result]) -> None:
        self._step = step

    async def __call__(self, call: StepCall) -> StepOutcome[Result]:
        """Runs the step. Its `CartwrightError` comes back in the outcome; defects are raised."""
        metadata = {} if call.traceparent is None else {TRACEPARENT: call.traceparent}
        _, span_context = remote_parent(metadata)
        context = RequestContext(
            deadline=Deadline.after_ms(call.remaining_ms),
            trace_id=call.trace_id,
            span_context=span_context,
            customer=call.customer,
            pinned=call.pinned,
            choices=dict(call.choices),
        )
        try:
            result = await self._step(call.request, context)
        except CartwrightError as error:
            if isinstance(error, Internal):
                # Its traceback does not travel.
                _log.exception("trace %s: step failed", call.trace_id)
            return StepOutcome(error=error, report=context.report())
        return StepOutcome(result=result, report=context.report())

    async def together(self, calls: Sequence[StepCall]) -> list[StepOutcome[Result]]:
        """Runs the step for several callers side by side; each gets an outcome of its own.

        A defect is logged and reaches its own caller alone, as `Internal`.
        """
        return list(await asyncio.gather(*(self._guarded(call) for call in calls)))

    async def _guarded(self, call: StepCall) -> StepOutcome[Result]:
        try:
            return await self(call)
        except Exception:  # noqa: BLE001 - the others who share the hop must not pay for it
            _log.exception("trace %s: step failed", call.trace_id)
            nothing = RequestContext(deadline=Deadline.after_ms(0.0)).report()
            return StepOutcome(error=Internal("a step failed in its own process"), report=nothing)

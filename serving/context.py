"""What travels with a request: its deadline, its trace, and the report for the reply."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from serving.deadline import Deadline
from serving.telemetry.tracer import open_span
from serving.types import Choice, Degradation, Report, StepTiming


@dataclass(kw_only=True)
class RequestContext:
    """Carried through one request; steps add timings, model versions and degradations to it.

    Never shared between requests. Asyncio only: not safe to change from several threads.
    """

    deadline: Deadline
    trace_id: str = ""
    # OpenTelemetry context to open child spans in; None while the request is not traced.
    span_context: Context | None = None
    timings: list[StepTiming] = field(default_factory=list)
    degraded: list[Degradation] = field(default_factory=list)
    model_versions: dict[str, int] = field(default_factory=dict)
    # Whatever stays the same for somebody (a customer's id, else a session's): their arm of an
    # experiment follows from it. "" for nobody in particular.
    customer: str = ""
    # By model, the version that was asked for by number.
    pinned: Mapping[str, int] = field(default_factory=dict)
    # By model, the version that answers this request; made by `serving.versions.routing`.
    choices: dict[str, Choice] = field(default_factory=dict)
    started_s: float = field(default_factory=time.perf_counter)

    def degrade(self, step: str, reason: str, fallback: str) -> None:
        """Notes that `step` was replaced by `fallback`; the reply will say so."""
        self.degraded.append(Degradation(step=step, reason=reason, fallback=fallback))

    def report(self) -> Report:
        """The report so far, total time included."""
        return Report(
            timings=tuple(self.timings),
            degraded=tuple(self.degraded),
            model_versions=dict(self.model_versions),
            choices=dict(self.choices),
            trace_id=self.trace_id,
            total_ms=(time.perf_counter() - self.started_s) * 1000.0,
        )

    def below(self, span: trace.Span) -> "RequestContext":
        """The same request (deadline, report) with `span` as the parent of what comes next."""
        return self._with(self.deadline, trace.set_span_in_context(span, self.span_context))

    def until(self, deadline: Deadline) -> "RequestContext":
        """The same request (trace, report) with another deadline for what comes next."""
        return self._with(deadline, self.span_context)

    def _with(self, deadline: Deadline, span_context: Context | None) -> "RequestContext":
        return RequestContext(
            deadline=deadline,
            trace_id=self.trace_id,
            span_context=span_context,
            timings=self.timings,
            degraded=self.degraded,
            model_versions=self.model_versions,
            customer=self.customer,
            pinned=self.pinned,
            choices=self.choices,
            started_s=self.started_s,
        )

    def merge(self, report: Report) -> None:
        """Adds what a step in another process reported."""
        self.timings.extend(report.timings)
        self.degraded.extend(report.degraded)
        self.model_versions.update(report.model_versions)
        self.choices.update(report.choices)


class observe_step:  # noqa: N801 - used as a verb: `with observe_step(context, "save")`
    """Times a step for the reply and, in a traced request, opens its span.

    Yields the context to pass down: the same report, with this step's span as the parent.
    The timing is noted whether the step succeeds or raises; an error is recorded on the span.

    A class and not a generator: several stand in the way of every request.
    """

    __slots__ = ("_context", "_span", "_started_s", "_step")

    def __init__(self, context: RequestContext, step: str) -> None:
        self._context = context
        self._step = step
        self._span: AbstractContextManager[trace.Span | None] | None = None
        self._started_s = 0.0

    def __enter__(self) -> RequestContext:
        self._started_s = time.perf_counter()
        parent = self._context.span_context
        if parent is None:
            return self._context
        self._span = open_span(
            f"step {self._step}", parent, SpanKind.INTERNAL, {"cartwright.step": self._step}
        )
        span = self._span.__enter__()
        return self._context.below(span) if span is not None else self._context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context.timings.append(
            StepTiming(
                step=self._step, duration_ms=(time.perf_counter() - self._started_s) * 1000.0
            )
        )
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)

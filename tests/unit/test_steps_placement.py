import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from serving import errors
from serving.context import RequestContext, observe_step
from serving.deadline import Deadline
from serving.errors import CartwrightError, DeadlineExceeded, Overloaded
from serving.features import DecisionFeatures
from serving.steps.decide import Decide, DecideInput, decision_by_rule
from serving.steps.encode import Embeddings, EncodeInput
from serving.steps.generate_candidates import Candidates, GenerateCandidatesInput
from serving.steps.placement import RemoteStep, StepCall, StepOutcome, StepServer
from serving.steps.rank import Ranking, RankInput
from serving.steps.retrieve import RetrieveInput
from serving.steps.understand import UnderstandInput
from serving.telemetry.tracer import Tracing, activate
from serving.types import Action
from tests.fakes.models import InMemoryModels, decide_linearly

ERRORS = {
    errors.InvalidRequest: ("field", "reason"),
    errors.Overloaded: ("queue of model ranker is full", 250),
}


def context(duration_ms: float = 5000) -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(duration_ms), trace_id="ab" * 16)


def elsewhere(step: Any) -> RemoteStep[Any]:
    """A step behind pickles, as in another process."""
    server: StepServer[Any] = StepServer(step)

    async def carry(call: StepCall) -> StepOutcome[Any]:
        outcome = await server(pickle.loads(pickle.dumps(call)))
        carried: StepOutcome[Any] = pickle.loads(pickle.dumps(outcome))
        return carried

    return RemoteStep(carry)


def error_classes() -> list[type[CartwrightError]]:
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, CartwrightError)
    ]


async def test_the_answer_and_the_report_are_those_of_the_step_itself() -> None:
    models = InMemoryModels({"decision": decide_linearly}, versions={"decision": 7})
    step = Decide(models, [0.0] * 22)
    request = DecideInput(features=DecisionFeatures(asks_for_human=1.0))
    here, there = context(), context()
    assert await elsewhere(step)(request, there) == await step(request, here)
    assert there.model_versions == here.model_versions == {"decision": 7}


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
async def test_every_error_arrives_as_its_own_class_with_what_was_reported(
    kind: type[CartwrightError],
) -> None:
    error = kind(*ERRORS.get(kind, ("no host has it",)))

    async def failing(request: str, context: RequestContext) -> str:
        with observe_step(context, "inner"):
            context.degrade("inner", "reason", "fallback")
        raise error

    request = context()
    with pytest.raises(CartwrightError) as caught:
        await elsewhere(failing)("question", request)
    assert type(caught.value) is kind
    assert caught.value.args == error.args
    assert caught.value.message == error.message
    assert [timing.step for timing in request.timings] == ["inner"]
    assert [degraded.step for degraded in request.degraded] == ["inner"]


async def test_a_defect_over_there_is_a_defect_here() -> None:
    async def broken(request: str, context: RequestContext) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await elsewhere(broken)("question", context())


async def test_the_remaining_time_and_the_trace_travel_with_the_call() -> None:
    seen: list[RequestContext] = []

    async def watching(request: str, context: RequestContext) -> str:
        seen.append(context)
        return request

    activate(Tracing(tracer=TracerProvider().get_tracer("test")))
    try:
        caller = context(400)
        span = trace.NonRecordingSpan(
            trace.SpanContext(
                trace_id=0xABCD, span_id=0x1234, is_remote=False, trace_flags=trace.TraceFlags(1)
            )
        )
        caller.span_context = trace.set_span_in_context(span)
        await elsewhere(watching)("question", caller)
    finally:
        activate(None)
    (there,) = seen
    assert 0 < there.deadline.remaining_ms() <= 400
    assert there.trace_id == caller.trace_id
    parent = trace.get_current_span(there.span_context).get_span_context()
    assert (parent.trace_id, parent.span_id) == (0xABCD, 0x1234)
    assert parent.is_remote


async def test_an_untraced_call_carries_no_traceparent() -> None:
    calls: list[StepCall] = []

    async def carry(call: StepCall) -> StepOutcome[str]:
        calls.append(call)
        return StepOutcome(result="answer", report=context().report())

    assert await RemoteStep(carry)("question", context()) == "answer"
    assert calls[0].traceparent is None


async def test_without_time_nothing_is_sent() -> None:
    async def carry(call: StepCall) -> StepOutcome[str]:
        raise AssertionError("was sent")

    with pytest.raises(DeadlineExceeded):
        await RemoteStep(carry)("question", context(-1))


async def test_an_error_of_the_transport_is_the_callers() -> None:
    async def carry(call: StepCall) -> StepOutcome[str]:
        raise Overloaded("the step's queue is full", 500)

    with pytest.raises(Overloaded, match="the step's queue is full"):
        await RemoteStep(carry)("question", context())


@pytest.mark.parametrize(
    "value",
    [
        UnderstandInput(text="hello"),
        EncodeInput(texts=("a", "b")),
        Embeddings(vectors=np.zeros((1, 384), np.float32), encoder="encoder/1"),
        RetrieveInput(question="a", limit=3),
        GenerateCandidatesInput(history=("p1",), limit=5),
        Candidates(product_ids=("p1",), scores=np.ones(1, np.float32), personal=True),
        RankInput(history=(), candidates=("p1",), scores=np.ones(1, np.float32)),
        Ranking(product_ids=("p1",), probabilities=(0.5,)),
        DecideInput(features=DecisionFeatures(), possible=frozenset({Action.ANSWER})),
        decision_by_rule(Action.CLARIFY, "rule"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_steps_take_and_give_survives_pickling(value: object) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert type(again) is type(value)
    assert repr(again) == repr(value)


async def test_calls_that_share_a_hop_have_outcomes_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def step(request: str, context: RequestContext) -> str:
        with observe_step(context, request):
            if request == "defect":
                raise ZeroDivisionError
            if request == "refused":
                raise Overloaded("full", 7)
            return request.upper()

    server: StepServer[str] = StepServer(step)
    calls = [
        StepCall(request=request, remaining_ms=1000.0)
        for request in ("one", "defect", "refused", "two")
    ]
    one, defect, refused, two = await server.together(calls)
    assert (one.result, two.result) == ("ONE", "TWO")
    assert [timing.step for timing in one.report.timings] == ["one"]
    assert isinstance(defect.error, errors.Internal)
    assert "ZeroDivisionError" in caplog.text
    assert isinstance(refused.error, Overloaded)
    assert refused.error.retry_after_ms == 7

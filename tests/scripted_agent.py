"""A gRPC server on loopback whose behaviour a test scripts: for clients and the command line."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.protos import commerce_pb2 as pb
from serving.protos import commerce_pb2_grpc

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
WAIT_S = 10.0

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


@dataclass(frozen=True)
class Call:
    """A call that arrived."""

    method: str
    request: Any
    metadata: dict[str, str]
    # Seconds until the client's gRPC timeout.
    remaining_s: float
    peer: str


def fails(code: grpc.StatusCode, details: str = "scripted", **trailers: str) -> Behaviour:
    """A behaviour: ends the call with a status."""

    def behave(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata(
            tuple((key.replace("_", "-"), value) for key, value in trailers.items())
        )
        context.abort(code, details)

    return behave


class ScriptedAgent(
    commerce_pb2_grpc.AgentServicer,
    commerce_pb2_grpc.EventsServicer,
    commerce_pb2_grpc.KnowledgeServicer,
    commerce_pb2_grpc.ModelsServicer,
    health_pb2_grpc.HealthServicer,
):
    """Answers with the scripted behaviours in their order, then with `replies`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.replies = dict(REPLIES)
        self.health = "SERVING"
        self.in_flight = 0
        self.cancelled = threading.Event()
        self._scripts: dict[str, list[Behaviour]] = {}
        self._always: dict[str, Behaviour] = {}
        self._changed = threading.Condition()

    def then(self, method: str, *behaviours: Behaviour) -> None:
        """Scripts the next calls of `method`."""
        self._scripts.setdefault(method, []).extend(behaviours)

    def always(self, method: str, behaviour: Behaviour) -> None:
        """Scripts every call of `method` that no `then` is left for."""
        self._always[method] = behaviour

    def metadata(self, key: str) -> list[str | None]:
        """The value of a metadata key in each call."""
        return [call.metadata.get(key) for call in self.calls]

    def wait_in_flight(self, count: int) -> None:
        """Waits until so many calls are being served."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.in_flight == count, WAIT_S):
                raise TimeoutError(f"{self.in_flight} calls in flight, expected {count}")

    def _serve(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(lambda: self._note_end(context))
        with self._changed:
            self.calls.append(
                Call(
                    method,
                    request,
                    {key: str(value) for key, value in context.invocation_metadata()},
                    context.time_remaining() or 0.0,
                    context.peer(),
                )
            )
            self.in_flight += 1
            self._changed.notify_all()
            script = self._scripts.get(method)
            behave = script.pop(0) if script else self._always.get(method)
        try:
            return behave(request, context) if behave else self.replies[method]
        finally:
            with self._changed:
                self.in_flight -= 1
                self._changed.notify_all()

    def _note_end(self, context: grpc.ServicerContext) -> None:
        if context.code() is None and (context.time_remaining() or 0.0) > 0:
            self.cancelled.set()

    def Converse(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("Converse", request, context)

    def ConverseStream(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield from self._serve("ConverseStream", request, context)

    def Understand(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("Understand", request, context)

    def Answer(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("Answer", request, context)

    def Recommend(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("Recommend", request, context)

    def Decide(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("Decide", request, context)

    def RecordEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("RecordEvents", request, context)

    def RecordFeedback(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("RecordFeedback", request, context)

    def UpsertArticles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("UpsertArticles", request, context)

    def DeleteArticles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("DeleteArticles", request, context)

    def ListArticles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("ListArticles", request, context)

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("ListModels", request, context)

    def ShowModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("ShowModel", request, context)

    def ChangeModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("ChangeModel", request, context)

    def ListModelSteps(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("ListModelSteps", request, context)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.replies["Check"] = health_pb2.HealthCheckResponse(status=self.health)
        return self._serve("Check", request, context)


class RunningAgent:
    """Serves a `ScriptedAgent` on a port of loopback while it is open."""

    def __init__(self, agent: ScriptedAgent, *, port: int = 0, threads: int = 16) -> None:
        self.agent = agent
        self._server = grpc.server(
            ThreadPoolExecutor(threads),
            # As HAProxy does.
            options=[("grpc.max_concurrent_streams", 100), ("grpc.so_reuseport", 0)],
        )
        commerce_pb2_grpc.add_AgentServicer_to_server(agent, self._server)
        commerce_pb2_grpc.add_EventsServicer_to_server(agent, self._server)
        commerce_pb2_grpc.add_KnowledgeServicer_to_server(agent, self._server)
        commerce_pb2_grpc.add_ModelsServicer_to_server(agent, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(agent, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> "RunningAgent":
        self._server.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops at once."""
        self._server.stop(grace=None).wait()


def held_until(event: threading.Event, reply: Any) -> Behaviour:
    """A behaviour: answers when `event` is set or the client has gone."""

    def behave(_request: Any, context: grpc.ServicerContext) -> Any:
        ends_at = time.monotonic() + WAIT_S
        while not event.wait(0.01) and context.is_active() and time.monotonic() < ends_at:
            pass
        return reply

    return behave


_META = pb.ReplyMeta(
    model_versions=[pb.ModelVersion(model="understanding", version=3)],
    steps=[
        pb.StepTiming(step="understand", duration_ms=6.25),
        pb.StepTiming(step="decide", duration_ms=1.5),
    ],
    degraded=[
        pb.Degradation(
            step="retrieve", reason="model encoder is not ready on any host", fallback="words"
        )
    ],
    trace_id=TRACE_ID,
    total_ms=11.75,
)
_UNDERSTANDING = pb.Understanding(
    intent="track_order",
    intent_confidence=0.97,
    slots=[pb.Slot(name="order_number", value="12345", start_char=18, end_char=23, confidence=0.9)],
    sentiment=pb.SENTIMENT_NEUTRAL,
    sentiment_confidence=0.8,
    out_of_scope_probability=0.02,
)
_ITEM = pb.Item(
    product_id="p0042",
    title="Blue mug [large]",
    category="home/kitchen/mugs",
    price_cents=1299,
    currency="EUR",
    score=0.75,
    reason="because of your last visit",
)
_SOURCE = pb.Source(article_id="a7", title="Where is my order?", snippet="Look …", score=0.83)
CONVERSE_REPLY = pb.ConverseReply(
    session_id="s1",
    turn=2,
    text="Order 12345 is on its way.",
    understanding=_UNDERSTANDING,
    answer=pb.KnowledgeAnswer(known=True, text="On its way.", sources=[_SOURCE], confidence=0.83),
    items=[_ITEM],
    decision=pb.Decision(
        action=pb.ACTION_ANSWER,
        probability=0.91,
        purchase_propensity=0.12,
        factors=[
            pb.Factor(name="answer_known", value=1.0, contribution=2.5),
            pb.Factor(name="negative_probability", value=0.1, contribution=-0.25),
        ],
    ),
    known_slots=[pb.Slot(name="order_number", value="12345")],
    meta=_META,
)
STREAM_EVENTS = (
    pb.ConverseEvent(understanding=_UNDERSTANDING),
    pb.ConverseEvent(sources=pb.Sources(sources=[_SOURCE])),
    pb.ConverseEvent(decision=CONVERSE_REPLY.decision),
    pb.ConverseEvent(text_piece="Order 12345 "),
    pb.ConverseEvent(text_piece="is on its way."),
    pb.ConverseEvent(done=CONVERSE_REPLY),
)
MODELS_REPLY = pb.ListModelsReply(
    models=[
        pb.ModelStatus(
            model="understanding",
            version=3,
            ready=True,
            ready_host_ids=["host-0"],
            artifact="onnx-int8",
            sha256="ab" * 32,
            published_at_ms=1_790_000_000_000,
        ),
        pb.ModelStatus(model="encoder", version=1, artifact="onnx"),
    ],
    hosts=[
        pb.ModelHost(
            host_id="host-0", url="127.0.0.1:8001", state=pb.HOST_STATE_READY, in_flight=4
        ),
        pb.ModelHost(
            host_id="host-1",
            url="127.0.0.1:8002",
            state=pb.HOST_STATE_DOWN,
            restarts=2,
            detail="exit code -9",
        ),
    ],
    meta=_META,
)
_STEP = pb.ModelStep(
    revision=7,
    action="canary 4 10%",
    author="ada",
    reason="better on returns",
    at_ms=1_790_000_100_000,
    live=3,
    candidate=4,
    canary_percent=10.0,
)
MODEL_REPLY = pb.ShowModelReply(
    model="understanding",
    revision=7,
    canary_percent=10.0,
    versions=[
        pb.VersionStatus(version=2, stage="published", artifact="onnx"),
        pb.VersionStatus(version=3, stage="live", ready_host_ids=["host-0"], artifact="onnx-int8"),
        pb.VersionStatus(version=4, stage="canary", ready_host_ids=["host-0"], sha256="cd" * 32),
        pb.VersionStatus(version=5, stage="staged", faults={"host-0": "no memory for it"}),
    ],
    last_step=_STEP,
    serving_host_ids=["host-0"],
    meta=_META,
)
REPLIES: dict[str, Any] = {
    "Converse": CONVERSE_REPLY,
    "ConverseStream": STREAM_EVENTS,
    "Understand": pb.UnderstandReply(understanding=_UNDERSTANDING, meta=_META),
    "Answer": pb.AnswerReply(answer=CONVERSE_REPLY.answer, meta=_META),
    "Recommend": pb.RecommendReply(items=[_ITEM], meta=_META),
    "Decide": pb.DecideReply(decision=CONVERSE_REPLY.decision, meta=_META),
    "RecordEvents": pb.RecordEventsReply(stored=1, meta=_META),
    "RecordFeedback": pb.RecordFeedbackReply(recorded=1, meta=_META),
    "UpsertArticles": pb.UpsertArticlesReply(created=1, meta=_META),
    "DeleteArticles": pb.DeleteArticlesReply(missing_ids=["a9"], meta=_META),
    "ListArticles": pb.ListArticlesReply(next_page_token="a1", total=7, meta=_META),
    "ListModels": MODELS_REPLY,
    "ShowModel": MODEL_REPLY,
    "ChangeModel": MODEL_REPLY,
    "ListModelSteps": pb.ListModelStepsReply(steps=[_STEP], meta=_META),
}

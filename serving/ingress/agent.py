"""The RPC methods: decode, run a pipeline, encode. Everything else lies behind them.

One class serves all services, because Ray Serve dispatches on the last part of the path alone.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from grpc_health.v1 import health_pb2

from serving.assembly import Pipelines
from serving.context import RequestContext
from serving.errors import CartwrightError, Overloaded
from serving.ingress import decode, encode
from serving.ingress.admission import PRIORITIES, Admission
from serving.ingress.books import Books
from serving.ingress.call import Method, server_stream, unary
from serving.ingress.health import AGENT, EVENTS, KNOWLEDGE, Health
from serving.ingress.models import ModelsView
from serving.ingress.models_methods import ModelsMethods
from serving.ingress.status import GrpcContext, answer_with_error
from serving.ingress.watch import watch
from serving.pipelines.turn import TurnOutcome
from serving.protos import commerce_pb2 as pb
from serving.settings import Settings
from serving.steps.understand import MODEL as UNDERSTANDING
from serving.types import Understanding
from serving.versions.admin import ModelAdmin


class Ingress(ModelsMethods):
    """Serves cartwright.v1.{Agent, Events, Knowledge, Models} and grpc.health.v1.Health."""

    def __init__(
        self,
        settings: Settings,
        pipelines: Pipelines,
        models: ModelsView,
        health: Health,
        admin: ModelAdmin,
        books: Books | None = None,
    ) -> None:
        super().__init__(settings, models, admin)
        self._books = books
        self._limits = settings.limits
        self._dialogue = settings.dialogue
        self._pipelines = pipelines
        self._health = health
        self._watch_period_s = settings.triton.probe_period_s
        self._max_watchers = settings.server.max_health_watchers
        self._retry_after_ms = settings.server.admission.retry_after_ms
        self._watchers = 0
        self.admission = Admission(settings.server.admission)
        deadlines, objectives = settings.deadlines, settings.objectives

        def method(service: str, name: str, deadline_ms: float, objective_ms: float) -> Method:
            return Method(
                service=service,
                name=name,
                default_deadline_ms=deadline_ms,
                objective_ms=objective_ms,
                priority=PRIORITIES[f"/{service}/{name}"],
                admission=self.admission,
                admin_token=settings.server.token(),
                books=books,
            )

        converse = (deadlines.converse_ms, objectives.converse_ms)
        knowledge = (deadlines.knowledge_ms, objectives.knowledge_ms)
        self._converse = method(AGENT, "Converse", *converse)
        self._converse_stream = method(AGENT, "ConverseStream", *converse)
        self._understand = method(
            AGENT, "Understand", deadlines.understand_ms, objectives.understand_ms
        )
        self._answer = method(AGENT, "Answer", deadlines.answer_ms, objectives.answer_ms)
        self._recommend = method(
            AGENT, "Recommend", deadlines.recommend_ms, objectives.recommend_ms
        )
        self._decide = method(AGENT, "Decide", deadlines.decide_ms, objectives.decide_ms)
        self._record = method(
            EVENTS, "RecordEvents", deadlines.record_events_ms, objectives.record_events_ms
        )
        self._feedback = method(
            EVENTS, "RecordFeedback", deadlines.record_feedback_ms, objectives.record_feedback_ms
        )
        self._upsert = method(KNOWLEDGE, "UpsertArticles", *knowledge)
        self._delete = method(KNOWLEDGE, "DeleteArticles", *knowledge)
        self._list_articles = method(KNOWLEDGE, "ListArticles", *knowledge)
        self._check = Method(
            service="grpc.health.v1.Health", name="Check", default_deadline_ms=deadlines.models_ms
        )

    # ---- Agent -------------------------------------------------------------------------------

    async def Converse(  # noqa: N802 - gRPC's name
        self, request: pb.ConverseRequest, grpc_context: GrpcContext
    ) -> pb.ConverseReply:
        """One turn of a conversation."""

        async def work(context: RequestContext) -> pb.ConverseReply:
            turn = decode.turn(request, self._limits, self._dialogue)
            context.customer = turn.customer_id or turn.session_id
            outcome = await self._pipelines.converse(turn, context)
            self._keep("Converse", turn.text, outcome.understanding, context)
            return encode.turn(outcome, context.report())

        return await unary(self._converse, request, grpc_context, work, pb.ConverseReply)

    async def ConverseStream(  # noqa: N802
        self, request: pb.ConverseRequest, grpc_context: GrpcContext
    ) -> AsyncGenerator[pb.ConverseEvent, None]:
        """One turn as events, each sent when it is known."""

        async def work(context: RequestContext) -> AsyncGenerator[pb.ConverseEvent, None]:
            turn = decode.turn(request, self._limits, self._dialogue)
            context.customer = turn.customer_id or turn.session_id
            run = partial(self._pipelines.converse, turn, context)
            # Closed here and not by the garbage collector, as everywhere on the way to the caller.
            async with aclosing(watch(run)) as events:
                async for told in events:
                    if isinstance(told, TurnOutcome):
                        self._keep("ConverseStream", turn.text, told.understanding, context)
                        yield pb.ConverseEvent(done=encode.turn(told, context.report()))
                    else:
                        yield encode.turn_event(told)

        stream = server_stream(self._converse_stream, request, grpc_context, work)
        async with aclosing(stream) as events:
            async for event in events:
                yield event

    async def Understand(  # noqa: N802
        self, request: pb.UnderstandRequest, grpc_context: GrpcContext
    ) -> pb.UnderstandReply:
        """Meaning of one utterance."""

        async def work(context: RequestContext) -> pb.UnderstandReply:
            text = decode.text("text", request.text, self._limits.max_text_chars)
            understanding = await self._pipelines.understand(text, context)
            self._keep("Understand", text, understanding, context)
            return pb.UnderstandReply(
                understanding=encode.understanding(understanding),
                meta=encode.meta(context.report()),
            )

        return await unary(self._understand, request, grpc_context, work, pb.UnderstandReply)

    async def Answer(  # noqa: N802
        self, request: pb.AnswerRequest, grpc_context: GrpcContext
    ) -> pb.AnswerReply:
        """Answer of the knowledge base, with its sources."""

        async def work(context: RequestContext) -> pb.AnswerReply:
            question = decode.text("question", request.question, self._limits.max_text_chars)
            top_k = decode.count(
                "top_k",
                request.top_k,
                maximum=self._limits.max_sources,
                default=self._dialogue.default_sources,
            )
            answer = await self._pipelines.answer(question, top_k, context)
            return pb.AnswerReply(answer=encode.answer(answer), meta=encode.meta(context.report()))

        return await unary(self._answer, request, grpc_context, work, pb.AnswerReply)

    async def Recommend(  # noqa: N802
        self, request: pb.RecommendRequest, grpc_context: GrpcContext
    ) -> pb.RecommendReply:
        """Products for a customer or a visitor."""

        async def work(context: RequestContext) -> pb.RecommendReply:
            wanted = decode.recommendation(request, self._limits)
            context.customer = wanted.customer_id or wanted.session_id
            items = await self._pipelines.recommend(wanted, context)
            return pb.RecommendReply(items=encode.items(items), meta=encode.meta(context.report()))

        return await unary(self._recommend, request, grpc_context, work, pb.RecommendReply)

    async def Decide(  # noqa: N802
        self, request: pb.DecideRequest, grpc_context: GrpcContext
    ) -> pb.DecideReply:
        """What to do next, how sure, and why."""

        async def work(context: RequestContext) -> pb.DecideReply:
            wanted = decode.decision(request, self._limits, self._dialogue)
            context.customer = wanted.customer_id or wanted.session_id
            decision = await self._pipelines.decide(wanted, context)
            return pb.DecideReply(
                decision=encode.decision(decision), meta=encode.meta(context.report())
            )

        return await unary(self._decide, request, grpc_context, work, pb.DecideReply)

    def _keep(
        self,
        method: str,
        text: str,
        understanding: Understanding | None,
        context: RequestContext,
    ) -> None:
        if self._books is not None:
            self._books.read(method, UNDERSTANDING, text, understanding, context)

    # ---- Events ------------------------------------------------------------------------------

    async def RecordEvents(  # noqa: N802
        self, request: pb.RecordEventsRequest, grpc_context: GrpcContext
    ) -> pb.RecordEventsReply:
        """Stores events; durable once this returns."""

        async def work(context: RequestContext) -> pb.RecordEventsReply:
            events = decode.events(request, self._limits, now_ms())
            recorded = await self._pipelines.record_events(events, context)
            return pb.RecordEventsReply(
                stored=recorded.stored,
                duplicates=recorded.duplicates,
                meta=encode.meta(context.report()),
            )

        return await unary(self._record, request, grpc_context, work, pb.RecordEventsReply)

    async def RecordFeedback(  # noqa: N802
        self, request: pb.RecordFeedbackRequest, grpc_context: GrpcContext
    ) -> pb.RecordFeedbackReply:
        """Stores what customers think of replies; durable once this returns."""

        async def work(context: RequestContext) -> pb.RecordFeedbackReply:
            feedback = decode.feedback(request, self._limits, now_ms())
            recorded = await self._pipelines.record_feedback(feedback, context)
            return pb.RecordFeedbackReply(
                recorded=recorded.recorded,
                unknown_trace_ids=recorded.unknown_trace_ids,
                meta=encode.meta(context.report()),
            )

        return await unary(self._feedback, request, grpc_context, work, pb.RecordFeedbackReply)

    # ---- Knowledge ---------------------------------------------------------------------------

    async def UpsertArticles(  # noqa: N802
        self, request: pb.UpsertArticlesRequest, grpc_context: GrpcContext
    ) -> pb.UpsertArticlesReply:
        """Stores articles; searchable within a second."""

        async def work(context: RequestContext) -> pb.UpsertArticlesReply:
            articles = decode.articles(request, self._limits, now_ms())
            upserted = await self._pipelines.knowledge.upsert(articles, context)
            return pb.UpsertArticlesReply(
                created=upserted.created,
                updated=upserted.updated,
                meta=encode.meta(context.report()),
            )

        return await unary(self._upsert, request, grpc_context, work, pb.UpsertArticlesReply)

    async def DeleteArticles(  # noqa: N802
        self, request: pb.DeleteArticlesRequest, grpc_context: GrpcContext
    ) -> pb.DeleteArticlesReply:
        """Deletes articles; names those that were not there."""

        async def work(context: RequestContext) -> pb.DeleteArticlesReply:
            article_ids = decode.article_ids(request, self._limits)
            deleted = await self._pipelines.knowledge.delete(article_ids, context)
            return pb.DeleteArticlesReply(
                deleted=deleted.deleted,
                missing_ids=deleted.missing_ids,
                meta=encode.meta(context.report()),
            )

        return await unary(self._delete, request, grpc_context, work, pb.DeleteArticlesReply)

    async def ListArticles(  # noqa: N802
        self, request: pb.ListArticlesRequest, grpc_context: GrpcContext
    ) -> pb.ListArticlesReply:
        """One page of the knowledge base."""

        async def work(context: RequestContext) -> pb.ListArticlesReply:
            page_token, page_size = decode.page(request, self._limits)
            page = await self._pipelines.knowledge.list_articles(page_token, page_size, context)
            return pb.ListArticlesReply(
                articles=encode.articles(page.articles),
                next_page_token=page.next_page_token,
                total=page.total,
                meta=encode.meta(context.report()),
            )

        return await unary(self._list_articles, request, grpc_context, work, pb.ListArticlesReply)

    # ---- grpc.health.v1.Health ---------------------------------------------------------------

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: GrpcContext
    ) -> health_pb2.HealthCheckResponse:
        """Whether a service can serve now."""

        async def work(_context: RequestContext) -> health_pb2.HealthCheckResponse:
            return self._health.check(request)

        return await unary(self._check, request, grpc_context, work, health_pb2.HealthCheckResponse)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: GrpcContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """The same, told at once and at every change, until the caller goes away."""
        if self._watchers >= self._max_watchers:
            error = Overloaded(
                f"{self._watchers} health watchers, the limit of this replica",
                self._retry_after_ms,
            )
            answer_with_error(grpc_context, error)
            return
        self._watchers += 1
        try:
            told: int | None = None
            while True:
                status = self._health.status(request)
                if status != told:
                    told = status
                    yield health_pb2.HealthCheckResponse(status=status)
                await asyncio.sleep(self._watch_period_s)
        except CartwrightError as error:
            answer_with_error(grpc_context, error)
        finally:
            self._watchers -= 1


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)

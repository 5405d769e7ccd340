"""The blocking client: one method a call, one iterator for the stream."""

import random
import time
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Self

import grpc

from serving.client import methods, requests
from serving.client.attempts import Attempts, RetryPolicy
from serving.client.methods import Method, Reply, Request
from serving.client.pool import CHANNEL_OPTIONS, ChannelPool
from serving.protos import commerce_pb2 as pb
from serving.types import Article, Event, Feedback


class CommerceClient:
    """Calls the shop's agent and waits for the reply; may be shared by threads.

    Every method raises an error of `serving.errors`: `InvalidRequest` also for what is refused
    before it is sent, `Overloaded` (with its `retry_after_ms`) without another attempt,
    `Unavailable` when all attempts met it.
    """

    def __init__(
        self,
        address: str,
        *,
        channels: int = 4,
        retry: RetryPolicy | None = None,
        generator: random.Random | None = None,
        token: str = "",
        versions: Mapping[str, int] | None = None,
    ) -> None:
        """Prepares a client; connects at the first call.

        Args:
            address: host:port of the ingress.
            channels: connections to spread calls over; each carries 100 calls at once.
            retry: attempts and pauses on UNAVAILABLE.
            generator: draws the pauses; seed it to repeat them.
            token: the admin's; for changing models, and for `versions`.
            versions: by model, the version to be answered by, whatever is live.
        """
        self.address = address
        self._pool = ChannelPool(
            lambda: grpc.insecure_channel(address, options=CHANNEL_OPTIONS), channels
        )
        self._retry = retry or RetryPolicy()
        self._generator = generator or random.Random()
        self._metadata = requests.call_metadata(token, versions or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; calls under way end as cancelled."""
        for channel in self._pool.close():
            channel.close()

    def converse(
        self,
        text: str,
        *,
        session_id: str,
        customer_id: str = "",
        top_k: int = 0,
        deadline_ms: float,
        traceparent: str = "",
    ) -> pb.ConverseReply:
        """One turn of the conversation `session_id`; `top_k` items if it recommends (0: 5)."""
        request = requests.converse(text, session_id, customer_id, top_k)
        return self._call(methods.CONVERSE, request, deadline_ms, traceparent)

    def converse_stream(
        self,
        text: str,
        *,
        session_id: str,
        customer_id: str = "",
        top_k: int = 0,
        deadline_ms: float,
        traceparent: str = "",
    ) -> Generator[pb.ConverseEvent, None, None]:
        """The same turn as events, the last one with the whole reply; not retried once begun."""
        request = requests.converse(text, session_id, customer_id, top_k)
        attempts = self._attempts(deadline_ms, traceparent)
        return self._stream(methods.CONVERSE_STREAM, request, attempts)

    def understand(
        self, text: str, *, deadline_ms: float, traceparent: str = ""
    ) -> pb.UnderstandReply:
        """Intent, slots and mood of an utterance."""
        request = requests.understand(text)
        return self._call(methods.UNDERSTAND, request, deadline_ms, traceparent)

    def answer(
        self, question: str, *, top_k: int = 0, deadline_ms: float, traceparent: str = ""
    ) -> pb.AnswerReply:
        """The knowledge base's answer with up to `top_k` sources (0: 3)."""
        request = requests.answer(question, top_k)
        return self._call(methods.ANSWER, request, deadline_ms, traceparent)

    def recommend(
        self,
        *,
        customer_id: str = "",
        session_id: str = "",
        top_k: int = 5,
        category: str = "",
        deadline_ms: float,
        traceparent: str = "",
    ) -> pb.RecommendReply:
        """`top_k` products for a customer or a session, all of a category if one is given."""
        request = requests.recommend(customer_id, session_id, top_k, category)
        return self._call(methods.RECOMMEND, request, deadline_ms, traceparent)

    def decide(
        self,
        text: str,
        *,
        session_id: str = "",
        customer_id: str = "",
        deadline_ms: float,
        traceparent: str = "",
    ) -> pb.DecideReply:
        """What to do after an utterance, how sure, and why."""
        request = requests.decide(text, session_id, customer_id)
        return self._call(methods.DECIDE, request, deadline_ms, traceparent)

    def record_events(
        self, events: Iterable[Event | pb.Event], *, deadline_ms: float, traceparent: str = ""
    ) -> pb.RecordEventsReply:
        """Stores behaviour events, each once by its `event_id`."""
        request = requests.record_events(events)
        return self._call(methods.RECORD_EVENTS, request, deadline_ms, traceparent)

    def record_feedback(
        self,
        feedback: Iterable[Feedback | pb.Feedback],
        *,
        deadline_ms: float,
        traceparent: str = "",
    ) -> pb.RecordFeedbackReply:
        """Stores what customers think of replies, by `meta.trace_id`; the newest rating counts."""
        request = requests.record_feedback(feedback)
        return self._call(methods.RECORD_FEEDBACK, request, deadline_ms, traceparent)

    def upsert_articles(
        self, articles: Iterable[Article | pb.Article], *, deadline_ms: float, traceparent: str = ""
    ) -> pb.UpsertArticlesReply:
        """Creates or replaces articles of the knowledge base."""
        request = requests.upsert_articles(articles)
        return self._call(methods.UPSERT_ARTICLES, request, deadline_ms, traceparent)

    def delete_articles(
        self, article_ids: Iterable[str], *, deadline_ms: float, traceparent: str = ""
    ) -> pb.DeleteArticlesReply:
        """Deletes articles; the reply names those that were not there."""
        request = requests.delete_articles(article_ids)
        return self._call(methods.DELETE_ARTICLES, request, deadline_ms, traceparent)

    def list_articles(
        self, *, page_size: int = 0, page_token: str = "", deadline_ms: float, traceparent: str = ""
    ) -> pb.ListArticlesReply:
        """One page of articles in id order (`page_size` 0: 100)."""
        request = requests.list_articles(page_size, page_token)
        return self._call(methods.LIST_ARTICLES, request, deadline_ms, traceparent)

    def list_models(self, *, deadline_ms: float, traceparent: str = "") -> pb.ListModelsReply:
        """Versions of the models and the hosts that serve them."""
        request = pb.ListModelsRequest()
        return self._call(methods.LIST_MODELS, request, deadline_ms, traceparent)

    def show_model(
        self, model: str, *, deadline_ms: float, traceparent: str = ""
    ) -> pb.ShowModelReply:
        """Every version of a model. Wants the admin's token, as the next two do."""
        request = pb.ShowModelRequest(model=model)
        return self._call(methods.SHOW_MODEL, request, deadline_ms, traceparent)

    def change_model(
        self,
        model: str,
        action: str,
        *,
        version: int = 0,
        canary_percent: float = 0.0,
        author: str,
        reason: str,
        expected_revision: int = 0,
        force: bool = False,
        deadline_ms: float,
        traceparent: str = "",
    ) -> pb.ShowModelReply:
        """One step: stage, shadow, canary, promote, rollback, release or roll out.

        `Conflict` when the model is not at `expected_revision` (0: whatever it is at).
        """
        request = requests.change_model(
            model, action, version, canary_percent, author, reason, expected_revision, force
        )
        return self._call(methods.CHANGE_MODEL, request, deadline_ms, traceparent)

    def list_model_steps(
        self, model: str, *, limit: int = 0, deadline_ms: float, traceparent: str = ""
    ) -> pb.ListModelStepsReply:
        """The last steps that were taken with a model, the newest first (`limit` 0: 20)."""
        request = pb.ListModelStepsRequest(model=model, limit=limit)
        return self._call(methods.LIST_MODEL_STEPS, request, deadline_ms, traceparent)

    def health(self, service: str = "", *, deadline_ms: float, traceparent: str = "") -> str:
        """ "SERVING" or "NOT_SERVING"; `NotFound` for a service that the server does not know."""
        request = methods.CHECK.request(service=service)
        reply = self._call(methods.CHECK, request, deadline_ms, traceparent)
        return str(methods.CHECK.reply.ServingStatus.Name(reply.status))

    def _attempts(self, deadline_ms: float, traceparent: str) -> Attempts:
        return Attempts(deadline_ms, traceparent, self._retry, self._generator, self._metadata)

    def _call(
        self, method: Method[Request, Reply], request: Request, deadline_ms: float, traceparent: str
    ) -> Reply:
        attempts = self._attempts(deadline_ms, traceparent)
        while True:
            attempt = attempts.begin()
            try:
                with self._pool.lease() as connection:
                    reply: Reply = connection.callable(method)(
                        request, timeout=attempt.timeout_s, metadata=attempt.metadata
                    )
                    return reply
            except grpc.RpcError as failure:
                pause_s = attempts.pause_or_raise(failure)
            time.sleep(pause_s)

    def _stream(
        self, method: Method[Request, Reply], request: Request, attempts: Attempts
    ) -> Generator[Reply, None, None]:
        while True:
            attempt = attempts.begin()
            begun = False
            with self._pool.lease() as connection:
                call = connection.callable(method)(
                    request, timeout=attempt.timeout_s, metadata=attempt.metadata
                )
                try:
                    for event in call:
                        begun = True
                        yield event
                    return
                except grpc.RpcError as failure:
                    pause_s = attempts.pause_or_raise(failure, begun=begun)
                finally:
                    # Frees the server when the caller stops reading.
                    call.cancel()
            time.sleep(pause_s)

"""Builds the request messages from plain arguments; nothing is sent that cannot be encoded."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from serving.credentials import AUTHORIZATION_KEY, VERSIONS_KEY
from serving.errors import InvalidRequest
from serving.protos import commerce_pb2 as pb
from serving.types import Article, Event, EventKind, Feedback

Parameters = ParamSpec("Parameters")
Message = TypeVar("Message")

_KINDS = {
    EventKind.VIEW: pb.EVENT_KIND_VIEW,
    EventKind.ADD_TO_CART: pb.EVENT_KIND_ADD_TO_CART,
    EventKind.REMOVE_FROM_CART: pb.EVENT_KIND_REMOVE_FROM_CART,
    EventKind.PURCHASE: pb.EVENT_KIND_PURCHASE,
}


_MODEL_ACTIONS = {
    "stage": pb.MODEL_ACTION_STAGE,
    "shadow": pb.MODEL_ACTION_SHADOW,
    "canary": pb.MODEL_ACTION_CANARY,
    "promote": pb.MODEL_ACTION_PROMOTE,
    "rollback": pb.MODEL_ACTION_ROLLBACK,
    "release": pb.MODEL_ACTION_RELEASE,
    "roll out": pb.MODEL_ACTION_ROLL_OUT,
}


def _refuse_unencodable(build: Callable[Parameters, Message]) -> Callable[Parameters, Message]:
    """Turns protobuf's own refusals (lone surrogates, integers too large) into ours."""

    @wraps(build)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Message:
        try:
            return build(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise InvalidRequest("request", f"cannot be encoded: {error}") from error

    return guarded


@_refuse_unencodable
def converse(text: str, session_id: str, customer_id: str, top_k: int) -> pb.ConverseRequest:
    """One turn of a conversation."""
    return pb.ConverseRequest(
        text=text, session_id=session_id, customer_id=customer_id, top_k=top_k
    )


@_refuse_unencodable
def understand(text: str) -> pb.UnderstandRequest:
    """One utterance."""
    return pb.UnderstandRequest(text=text)


@_refuse_unencodable
def answer(question: str, top_k: int) -> pb.AnswerRequest:
    """One question."""
    return pb.AnswerRequest(question=question, top_k=top_k)


@_refuse_unencodable
def recommend(customer_id: str, session_id: str, top_k: int, category: str) -> pb.RecommendRequest:
    """Products for a customer or a session."""
    return pb.RecommendRequest(
        customer_id=customer_id, session_id=session_id, top_k=top_k, category=category
    )


@_refuse_unencodable
def decide(text: str, session_id: str, customer_id: str) -> pb.DecideRequest:
    """What to do after an utterance."""
    return pb.DecideRequest(text=text, session_id=session_id, customer_id=customer_id)


@_refuse_unencodable
def record_events(events: Iterable[Event | pb.Event]) -> pb.RecordEventsRequest:
    """Behaviour events."""
    return pb.RecordEventsRequest(events=[_event(event) for event in events])


@_refuse_unencodable
def record_feedback(feedback: Iterable[Feedback | pb.Feedback]) -> pb.RecordFeedbackRequest:
    """What customers think of replies."""
    return pb.RecordFeedbackRequest(feedback=[_feedback(one) for one in feedback])


@_refuse_unencodable
def upsert_articles(articles: Iterable[Article | pb.Article]) -> pb.UpsertArticlesRequest:
    """Articles to store; `updated_at_ms` is the server's."""
    return pb.UpsertArticlesRequest(articles=[_article(article) for article in articles])


@_refuse_unencodable
def delete_articles(article_ids: Iterable[str]) -> pb.DeleteArticlesRequest:
    """Articles to delete."""
    return pb.DeleteArticlesRequest(article_ids=list(article_ids))


@_refuse_unencodable
def list_articles(page_size: int, page_token: str) -> pb.ListArticlesRequest:
    """One page of articles."""
    return pb.ListArticlesRequest(page_size=page_size, page_token=page_token)


@_refuse_unencodable
def change_model(
    model: str,
    action: str,
    version: int,
    canary_percent: float,
    author: str,
    reason: str,
    expected_revision: int,
    force: bool,
) -> pb.ChangeModelRequest:
    """One step of a version; `action` as in the API, e.g. "promote"."""
    known = _MODEL_ACTIONS.get(action)
    if known is None:
        raise InvalidRequest("action", f"must be one of {sorted(_MODEL_ACTIONS)}, got {action!r}")
    return pb.ChangeModelRequest(
        model=model,
        action=known,
        version=version,
        canary_percent=canary_percent,
        author=author,
        reason=reason,
        expected_revision=expected_revision,
        force=force,
    )


def call_metadata(token: str, versions: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    """Metadata of every call: the admin's token, and versions that are asked for by number."""
    found = []
    if token:
        found.append((AUTHORIZATION_KEY, f"Bearer {token}"))
    if versions:
        found.append((VERSIONS_KEY, ",".join(f"{m}={v}" for m, v in sorted(versions.items()))))
    return tuple(found)


def _event(event: Event | pb.Event) -> pb.Event:
    if isinstance(event, pb.Event):
        return event
    return pb.Event(
        event_id=event.event_id,
        customer_id=event.customer_id,
        session_id=event.session_id,
        kind=_KINDS[event.kind],
        product_id=event.product_id,
        occurred_at_ms=event.occurred_at_ms,
    )


def _feedback(feedback: Feedback | pb.Feedback) -> pb.Feedback:
    if isinstance(feedback, pb.Feedback):
        return feedback
    return pb.Feedback(
        trace_id=feedback.trace_id,
        rating=pb.RATING_HELPFUL if feedback.helpful else pb.RATING_NOT_HELPFUL,
        comment=feedback.comment,
        occurred_at_ms=feedback.occurred_at_ms,
    )


def _article(article: Article | pb.Article) -> pb.Article:
    if isinstance(article, pb.Article):
        return article
    return pb.Article(
        article_id=article.article_id,
        title=article.title,
        body=article.body,
        topic=article.topic,
    )

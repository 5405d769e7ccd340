"""From protobuf requests to domain values: pure functions that refuse what is unusable.

Every refusal is an `InvalidRequest` with the field as the caller wrote it and the reason.
"""

import re
from collections.abc import Sequence

from serving.errors import InvalidRequest
from serving.pipelines.recommend import RecommendInput
from serving.pipelines.turn import TurnInput
from serving.protos import commerce_pb2 as pb
from serving.settings import DialogueSettings, LimitSettings
from serving.types import Article, Event, EventKind, Feedback

_EVENT_KINDS = {
    pb.EVENT_KIND_VIEW: EventKind.VIEW,
    pb.EVENT_KIND_ADD_TO_CART: EventKind.ADD_TO_CART,
    pb.EVENT_KIND_REMOVE_FROM_CART: EventKind.REMOVE_FROM_CART,
    pb.EVENT_KIND_PURCHASE: EventKind.PURCHASE,
}
_HELPFUL = {pb.RATING_HELPFUL: True, pb.RATING_NOT_HELPFUL: False}
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}", re.IGNORECASE)
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100


def text(field: str, value: str, max_chars: int) -> str:
    """A text that says something, without the blanks around it."""
    if len(value) > max_chars:
        raise InvalidRequest(field, f"has {len(value)} characters, at most {max_chars} are taken")
    stripped = value.strip()
    if not stripped:
        raise InvalidRequest(field, "is empty")
    return stripped


def identifier(field: str, value: str, limits: LimitSettings, *, required: bool) -> str:
    """An id: printable, bounded, and there if it has to be."""
    if not value and not required:
        return ""
    if not value.strip():
        raise InvalidRequest(field, "is empty")
    if len(value) > limits.max_id_chars:
        raise InvalidRequest(
            field, f"has {len(value)} characters, at most {limits.max_id_chars} are taken"
        )
    if not value.isprintable():
        raise InvalidRequest(field, "has characters that cannot be printed")
    return value


def count(field: str, value: int, *, maximum: int, default: int | None = None) -> int:
    """A number of things from 1 to `maximum`; 0 means `default` where there is one."""
    if value == 0 and default is not None:
        return min(default, maximum)
    if not 1 <= value <= maximum:
        raise InvalidRequest(field, f"must be from 1 to {maximum}, got {value}")
    return value


def _bounded(field: str, values: Sequence[object], maximum: int) -> None:
    if not values:
        raise InvalidRequest(field, "is empty")
    if len(values) > maximum:
        raise InvalidRequest(field, f"has {len(values)} entries, at most {maximum} are taken")


def turn(
    request: pb.ConverseRequest, limits: LimitSettings, dialogue: DialogueSettings
) -> TurnInput:
    """One turn of a conversation."""
    return TurnInput(
        session_id=identifier("session_id", request.session_id, limits, required=True),
        customer_id=identifier("customer_id", request.customer_id, limits, required=False),
        text=text("text", request.text, limits.max_text_chars),
        top_k=count(
            "top_k", request.top_k, maximum=limits.max_top_k, default=dialogue.default_top_k
        ),
    )


def decision(
    request: pb.DecideRequest, limits: LimitSettings, dialogue: DialogueSettings
) -> TurnInput:
    """The utterance to decide on; an empty session is a conversation that begins with it."""
    return TurnInput(
        session_id=identifier("session_id", request.session_id, limits, required=False),
        customer_id=identifier("customer_id", request.customer_id, limits, required=False),
        text=text("text", request.text, limits.max_text_chars),
        top_k=dialogue.default_top_k,
    )


def recommendation(request: pb.RecommendRequest, limits: LimitSettings) -> RecommendInput:
    """For whom to recommend, how much and from where."""
    customer_id = identifier("customer_id", request.customer_id, limits, required=False)
    session_id = identifier("session_id", request.session_id, limits, required=False)
    if not customer_id and not session_id:
        raise InvalidRequest("customer_id", "is empty, and so is session_id; one is required")
    return RecommendInput(
        customer_id=customer_id,
        session_id=session_id,
        top_k=count("top_k", request.top_k, maximum=limits.max_top_k),
        category=identifier("category", request.category, limits, required=False),
    )


def events(request: pb.RecordEventsRequest, limits: LimitSettings, now_ms: int) -> list[Event]:
    """The events of a request; one bad event refuses them all."""
    _bounded("events", request.events, limits.max_events)
    return [
        _event(f"events[{index}]", event, limits, now_ms)
        for index, event in enumerate(request.events)
    ]


def _event(at: str, event: pb.Event, limits: LimitSettings, now_ms: int) -> Event:
    kind = _EVENT_KINDS.get(event.kind)
    if kind is None:
        raise InvalidRequest(f"{at}.kind", f"must be a known kind of event, got {event.kind}")
    customer_id = identifier(f"{at}.customer_id", event.customer_id, limits, required=False)
    session_id = identifier(f"{at}.session_id", event.session_id, limits, required=False)
    if not customer_id and not session_id:
        raise InvalidRequest(f"{at}.customer_id", "is empty, and so is session_id; one is required")
    if event.occurred_at_ms < 0:
        raise InvalidRequest(f"{at}.occurred_at_ms", f"is negative: {event.occurred_at_ms}")
    return Event(
        event_id=identifier(f"{at}.event_id", event.event_id, limits, required=True),
        kind=kind,
        product_id=identifier(f"{at}.product_id", event.product_id, limits, required=True),
        customer_id=customer_id,
        session_id=session_id,
        occurred_at_ms=event.occurred_at_ms or now_ms,
    )


def feedback(
    request: pb.RecordFeedbackRequest, limits: LimitSettings, now_ms: int
) -> list[Feedback]:
    """The feedback of a request; one that is bad refuses all."""
    _bounded("feedback", request.feedback, limits.max_feedback)
    return [
        _feedback(f"feedback[{index}]", one, limits, now_ms)
        for index, one in enumerate(request.feedback)
    ]


def _feedback(at: str, one: pb.Feedback, limits: LimitSettings, now_ms: int) -> Feedback:
    if not _TRACE_ID.fullmatch(one.trace_id):
        raise InvalidRequest(
            f"{at}.trace_id",
            f"must be a reply's meta.trace_id, 32 hex digits, got {one.trace_id[:40]!r}",
        )
    helpful = _HELPFUL.get(one.rating)
    if helpful is None:
        raise InvalidRequest(f"{at}.rating", f"must be a known rating, got {one.rating}")
    if one.occurred_at_ms < 0:
        raise InvalidRequest(f"{at}.occurred_at_ms", f"is negative: {one.occurred_at_ms}")
    comment = one.comment.strip()
    if comment:
        comment = text(f"{at}.comment", comment, limits.max_comment_chars)
    return Feedback(
        trace_id=one.trace_id.lower(),
        helpful=helpful,
        comment=comment,
        occurred_at_ms=one.occurred_at_ms or now_ms,
    )


def articles(
    request: pb.UpsertArticlesRequest, limits: LimitSettings, now_ms: int
) -> list[Article]:
    """The articles of a request; one bad article refuses them all."""
    _bounded("articles", request.articles, limits.max_articles)
    seen: dict[str, int] = {}
    decoded = []
    for index, article in enumerate(request.articles):
        at = f"articles[{index}]"
        article_id = identifier(f"{at}.article_id", article.article_id, limits, required=True)
        if article_id in seen:
            raise InvalidRequest(
                f"{at}.article_id", f"{article_id!r} stands in articles[{seen[article_id]}] too"
            )
        seen[article_id] = index
        decoded.append(
            Article(
                article_id=article_id,
                title=text(f"{at}.title", article.title, limits.max_article_chars),
                body=text(f"{at}.body", article.body, limits.max_article_chars),
                topic=identifier(f"{at}.topic", article.topic, limits, required=False),
                updated_at_ms=now_ms,
            )
        )
    return decoded


def article_ids(request: pb.DeleteArticlesRequest, limits: LimitSettings) -> list[str]:
    """The ids to delete, each once."""
    _bounded("article_ids", request.article_ids, limits.max_articles)
    return list(
        dict.fromkeys(
            identifier(f"article_ids[{index}]", article_id, limits, required=True)
            for index, article_id in enumerate(request.article_ids)
        )
    )


def page(request: pb.ListArticlesRequest, limits: LimitSettings) -> tuple[str, int]:
    """Id after which the page begins, and its size."""
    size = count("page_size", request.page_size, maximum=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE)
    return identifier("page_token", request.page_token, limits, required=False), size

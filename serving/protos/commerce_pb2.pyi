from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sentiment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SENTIMENT_UNSPECIFIED: _ClassVar[Sentiment]
    SENTIMENT_NEGATIVE: _ClassVar[Sentiment]
    SENTIMENT_NEUTRAL: _ClassVar[Sentiment]
    SENTIMENT_POSITIVE: _ClassVar[Sentiment]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_NONE: _ClassVar[Action]
    ACTION_ANSWER: _ClassVar[Action]
    ACTION_RECOMMEND: _ClassVar[Action]
    ACTION_OFFER: _ClassVar[Action]
    ACTION_CLARIFY: _ClassVar[Action]
    ACTION_ESCALATE: _ClassVar[Action]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_VIEW: _ClassVar[EventKind]
    EVENT_KIND_ADD_TO_CART: _ClassVar[EventKind]
    EVENT_KIND_REMOVE_FROM_CART: _ClassVar[EventKind]
    EVENT_KIND_PURCHASE: _ClassVar[EventKind]

class Rating(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RATING_UNSPECIFIED: _ClassVar[Rating]
    RATING_HELPFUL: _ClassVar[Rating]
    RATING_NOT_HELPFUL: _ClassVar[Rating]

class HostState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_STATE_UNSPECIFIED: _ClassVar[HostState]
    HOST_STATE_STARTING: _ClassVar[HostState]
    HOST_STATE_READY: _ClassVar[HostState]
    HOST_STATE_DOWN: _ClassVar[HostState]

class ModelAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_ACTION_UNSPECIFIED: _ClassVar[ModelAction]
    MODEL_ACTION_STAGE: _ClassVar[ModelAction]
    MODEL_ACTION_SHADOW: _ClassVar[ModelAction]
    MODEL_ACTION_CANARY: _ClassVar[ModelAction]
    MODEL_ACTION_PROMOTE: _ClassVar[ModelAction]
    MODEL_ACTION_ROLLBACK: _ClassVar[ModelAction]
    MODEL_ACTION_RELEASE: _ClassVar[ModelAction]
    MODEL_ACTION_ROLL_OUT: _ClassVar[ModelAction]
SENTIMENT_UNSPECIFIED: Sentiment
SENTIMENT_NEGATIVE: Sentiment
SENTIMENT_NEUTRAL: Sentiment
SENTIMENT_POSITIVE: Sentiment
ACTION_UNSPECIFIED: Action
ACTION_NONE: Action
ACTION_ANSWER: Action
ACTION_RECOMMEND: Action
ACTION_OFFER: Action
ACTION_CLARIFY: Action
ACTION_ESCALATE: Action
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_VIEW: EventKind
EVENT_KIND_ADD_TO_CART: EventKind
EVENT_KIND_REMOVE_FROM_CART: EventKind
EVENT_KIND_PURCHASE: EventKind
RATING_UNSPECIFIED: Rating
RATING_HELPFUL: Rating
RATING_NOT_HELPFUL: Rating
HOST_STATE_UNSPECIFIED: HostState
HOST_STATE_STARTING: HostState
HOST_STATE_READY: HostState
HOST_STATE_DOWN: HostState
MODEL_ACTION_UNSPECIFIED: ModelAction
MODEL_ACTION_STAGE: ModelAction
MODEL_ACTION_SHADOW: ModelAction
MODEL_ACTION_CANARY: ModelAction
MODEL_ACTION_PROMOTE: ModelAction
MODEL_ACTION_ROLLBACK: ModelAction
MODEL_ACTION_RELEASE: ModelAction
MODEL_ACTION_ROLL_OUT: ModelAction

class ModelVersion(_message.Message):
    __slots__ = ("model", "version", "arm")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    arm: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., arm: _Optional[str] = ...) -> None: ...

class StepTiming(_message.Message):
    __slots__ = ("step", "duration_ms")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    step: str
    duration_ms: float
    def __init__(self, step: _Optional[str] = ..., duration_ms: _Optional[float] = ...) -> None: ...

class Degradation(_message.Message):
    __slots__ = ("step", "reason", "fallback")
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    step: str
    reason: str
    fallback: str
    def __init__(self, step: _Optional[str] = ..., reason: _Optional[str] = ..., fallback: _Optional[str] = ...) -> None: ...

class ReplyMeta(_message.Message):
    __slots__ = ("model_versions", "steps", "degraded", "trace_id", "total_ms")
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    model_versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    steps: _containers.RepeatedCompositeFieldContainer[StepTiming]
    degraded: _containers.RepeatedCompositeFieldContainer[Degradation]
    trace_id: str
    total_ms: float
    def __init__(self, model_versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[StepTiming, _Mapping]]] = ..., degraded: _Optional[_Iterable[_Union[Degradation, _Mapping]]] = ..., trace_id: _Optional[str] = ..., total_ms: _Optional[float] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("name", "value", "start_char", "end_char", "confidence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    START_CHAR_FIELD_NUMBER: _ClassVar[int]
    END_CHAR_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    start_char: int
    end_char: int
    confidence: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., start_char: _Optional[int] = ..., end_char: _Optional[int] = ..., confidence: _Optional[float] = ...) -> None: ...

class Understanding(_message.Message):
    __slots__ = ("intent", "intent_confidence", "slots", "sentiment", "sentiment_confidence", "out_of_scope_probability")
    INTENT_FIELD_NUMBER: _ClassVar[int]
    INTENT_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SENTIMENT_FIELD_NUMBER: _ClassVar[int]
    SENTIMENT_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SCOPE_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    intent: str
    intent_confidence: float
    slots: _containers.RepeatedCompositeFieldContainer[Slot]
    sentiment: Sentiment
    sentiment_confidence: float
    out_of_scope_probability: float
    def __init__(self, intent: _Optional[str] = ..., intent_confidence: _Optional[float] = ..., slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., sentiment: _Optional[_Union[Sentiment, str]] = ..., sentiment_confidence: _Optional[float] = ..., out_of_scope_probability: _Optional[float] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("article_id", "title", "snippet", "score")
    ARTICLE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SNIPPET_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    article_id: str
    title: str
    snippet: str
    score: float
    def __init__(self, article_id: _Optional[str] = ..., title: _Optional[str] = ..., snippet: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class KnowledgeAnswer(_message.Message):
    __slots__ = ("known", "text", "sources", "confidence")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    known: bool
    text: str
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    confidence: float
    def __init__(self, known: _Optional[bool] = ..., text: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., confidence: _Optional[float] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("product_id", "title", "category", "price_cents", "currency", "score", "reason")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    PRICE_CENTS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    title: str
    category: str
    price_cents: int
    currency: str
    score: float
    reason: str
    def __init__(self, product_id: _Optional[str] = ..., title: _Optional[str] = ..., category: _Optional[str] = ..., price_cents: _Optional[int] = ..., currency: _Optional[str] = ..., score: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Factor(_message.Message):
    __slots__ = ("name", "value", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    contribution: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("action", "probability", "purchase_propensity", "factors")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    action: Action
    probability: float
    purchase_propensity: float
    factors: _containers.RepeatedCompositeFieldContainer[Factor]
    def __init__(self, action: _Optional[_Union[Action, str]] = ..., probability: _Optional[float] = ..., purchase_propensity: _Optional[float] = ..., factors: _Optional[_Iterable[_Union[Factor, _Mapping]]] = ...) -> None: ...

class ConverseRequest(_message.Message):
    __slots__ = ("session_id", "customer_id", "text", "top_k")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    customer_id: str
    text: str
    top_k: int
    def __init__(self, session_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., text: _Optional[str] = ..., top_k: _Optional[int] = ...) -> None: ...

class ConverseReply(_message.Message):
    __slots__ = ("session_id", "turn", "text", "understanding", "answer", "items", "decision", "requested_slot", "known_slots", "meta")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNDERSTANDING_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_SLOT_FIELD_NUMBER: _ClassVar[int]
    KNOWN_SLOTS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn: int
    text: str
    understanding: Understanding
    answer: KnowledgeAnswer
    items: _containers.RepeatedCompositeFieldContainer[Item]
    decision: Decision
    requested_slot: str
    known_slots: _containers.RepeatedCompositeFieldContainer[Slot]
    meta: ReplyMeta
    def __init__(self, session_id: _Optional[str] = ..., turn: _Optional[int] = ..., text: _Optional[str] = ..., understanding: _Optional[_Union[Understanding, _Mapping]] = ..., answer: _Optional[_Union[KnowledgeAnswer, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., requested_slot: _Optional[str] = ..., known_slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class Sources(_message.Message):
    __slots__ = ("sources",)
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    def __init__(self, sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ...) -> None: ...

class Items(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class ConverseEvent(_message.Message):
    __slots__ = ("understanding", "sources", "items", "decision", "text_piece", "done")
    UNDERSTANDING_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    TEXT_PIECE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    understanding: Understanding
    sources: Sources
    items: Items
    decision: Decision
    text_piece: str
    done: ConverseReply
    def __init__(self, understanding: _Optional[_Union[Understanding, _Mapping]] = ..., sources: _Optional[_Union[Sources, _Mapping]] = ..., items: _Optional[_Union[Items, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., text_piece: _Optional[str] = ..., done: _Optional[_Union[ConverseReply, _Mapping]] = ...) -> None: ...

class UnderstandRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class UnderstandReply(_message.Message):
    __slots__ = ("understanding", "meta")
    UNDERSTANDING_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    understanding: Understanding
    meta: ReplyMeta
    def __init__(self, understanding: _Optional[_Union[Understanding, _Mapping]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class AnswerRequest(_message.Message):
    __slots__ = ("question", "top_k")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    question: str
    top_k: int
    def __init__(self, question: _Optional[str] = ..., top_k: _Optional[int] = ...) -> None: ...

class AnswerReply(_message.Message):
    __slots__ = ("answer", "meta")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    answer: KnowledgeAnswer
    meta: ReplyMeta
    def __init__(self, answer: _Optional[_Union[KnowledgeAnswer, _Mapping]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("customer_id", "session_id", "top_k", "category")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    session_id: str
    top_k: int
    category: str
    def __init__(self, customer_id: _Optional[str] = ..., session_id: _Optional[str] = ..., top_k: _Optional[int] = ..., category: _Optional[str] = ...) -> None: ...

class RecommendReply(_message.Message):
    __slots__ = ("items", "meta")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    meta: ReplyMeta
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class DecideRequest(_message.Message):
    __slots__ = ("session_id", "customer_id", "text")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    customer_id: str
    text: str
    def __init__(self, session_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DecideReply(_message.Message):
    __slots__ = ("decision", "meta")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    meta: ReplyMeta
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "customer_id", "session_id", "kind", "product_id", "occurred_at_ms")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    customer_id: str
    session_id: str
    kind: EventKind
    product_id: str
    occurred_at_ms: int
    def __init__(self, event_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., session_id: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., product_id: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ...) -> None: ...

class RecordEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class RecordEventsReply(_message.Message):
    __slots__ = ("stored", "duplicates", "meta")
    STORED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    stored: int
    duplicates: int
    meta: ReplyMeta
    def __init__(self, stored: _Optional[int] = ..., duplicates: _Optional[int] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("trace_id", "rating", "comment", "occurred_at_ms")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    rating: Rating
    comment: str
    occurred_at_ms: int
    def __init__(self, trace_id: _Optional[str] = ..., rating: _Optional[_Union[Rating, str]] = ..., comment: _Optional[str] = ..., occurred_at_ms: _Optional[int] = ...) -> None: ...

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("feedback",)
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    feedback: _containers.RepeatedCompositeFieldContainer[Feedback]
    def __init__(self, feedback: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ...) -> None: ...

class RecordFeedbackReply(_message.Message):
    __slots__ = ("recorded", "unknown_trace_ids", "meta")
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    recorded: int
    unknown_trace_ids: _containers.RepeatedScalarFieldContainer[str]
    meta: ReplyMeta
    def __init__(self, recorded: _Optional[int] = ..., unknown_trace_ids: _Optional[_Iterable[str]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class Article(_message.Message):
    __slots__ = ("article_id", "title", "body", "topic", "updated_at_ms")
    ARTICLE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    article_id: str
    title: str
    body: str
    topic: str
    updated_at_ms: int
    def __init__(self, article_id: _Optional[str] = ..., title: _Optional[str] = ..., body: _Optional[str] = ..., topic: _Optional[str] = ..., updated_at_ms: _Optional[int] = ...) -> None: ...

class UpsertArticlesRequest(_message.Message):
    __slots__ = ("articles",)
    ARTICLES_FIELD_NUMBER: _ClassVar[int]
    articles: _containers.RepeatedCompositeFieldContainer[Article]
    def __init__(self, articles: _Optional[_Iterable[_Union[Article, _Mapping]]] = ...) -> None: ...

class UpsertArticlesReply(_message.Message):
    __slots__ = ("created", "updated", "meta")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    created: int
    updated: int
    meta: ReplyMeta
    def __init__(self, created: _Optional[int] = ..., updated: _Optional[int] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class DeleteArticlesRequest(_message.Message):
    __slots__ = ("article_ids",)
    ARTICLE_IDS_FIELD_NUMBER: _ClassVar[int]
    article_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, article_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteArticlesReply(_message.Message):
    __slots__ = ("deleted", "missing_ids", "meta")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    meta: ReplyMeta
    def __init__(self, deleted: _Optional[int] = ..., missing_ids: _Optional[_Iterable[str]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class ListArticlesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListArticlesReply(_message.Message):
    __slots__ = ("articles", "next_page_token", "total", "meta")
    ARTICLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    articles: _containers.RepeatedCompositeFieldContainer[Article]
    next_page_token: str
    total: int
    meta: ReplyMeta
    def __init__(self, articles: _Optional[_Iterable[_Union[Article, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class ModelHost(_message.Message):
    __slots__ = ("host_id", "url", "state", "restarts", "in_flight", "detail")
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    host_id: str
    url: str
    state: HostState
    restarts: int
    in_flight: int
    detail: str
    def __init__(self, host_id: _Optional[str] = ..., url: _Optional[str] = ..., state: _Optional[_Union[HostState, str]] = ..., restarts: _Optional[int] = ..., in_flight: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("model", "version", "ready", "ready_host_ids", "artifact", "sha256", "published_at_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    READY_HOST_IDS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    ready: bool
    ready_host_ids: _containers.RepeatedScalarFieldContainer[str]
    artifact: str
    sha256: str
    published_at_ms: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., ready: _Optional[bool] = ..., ready_host_ids: _Optional[_Iterable[str]] = ..., artifact: _Optional[str] = ..., sha256: _Optional[str] = ..., published_at_ms: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsReply(_message.Message):
    __slots__ = ("models", "hosts", "meta")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    hosts: _containers.RepeatedCompositeFieldContainer[ModelHost]
    meta: ReplyMeta
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., hosts: _Optional[_Iterable[_Union[ModelHost, _Mapping]]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class ShowModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class VersionStatus(_message.Message):
    __slots__ = ("version", "stage", "ready_host_ids", "faults", "artifact", "sha256", "published_at_ms", "open")
    class FaultsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    READY_HOST_IDS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    version: int
    stage: str
    ready_host_ids: _containers.RepeatedScalarFieldContainer[str]
    faults: _containers.ScalarMap[str, str]
    artifact: str
    sha256: str
    published_at_ms: int
    open: bool
    def __init__(self, version: _Optional[int] = ..., stage: _Optional[str] = ..., ready_host_ids: _Optional[_Iterable[str]] = ..., faults: _Optional[_Mapping[str, str]] = ..., artifact: _Optional[str] = ..., sha256: _Optional[str] = ..., published_at_ms: _Optional[int] = ..., open: _Optional[bool] = ...) -> None: ...

class ShowModelReply(_message.Message):
    __slots__ = ("model", "revision", "canary_percent", "versions", "last_step", "serving_host_ids", "rollout", "meta")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    SERVING_HOST_IDS_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    model: str
    revision: int
    canary_percent: float
    versions: _containers.RepeatedCompositeFieldContainer[VersionStatus]
    last_step: ModelStep
    serving_host_ids: _containers.RepeatedScalarFieldContainer[str]
    rollout: Rollout
    meta: ReplyMeta
    def __init__(self, model: _Optional[str] = ..., revision: _Optional[int] = ..., canary_percent: _Optional[float] = ..., versions: _Optional[_Iterable[_Union[VersionStatus, _Mapping]]] = ..., last_step: _Optional[_Union[ModelStep, _Mapping]] = ..., serving_host_ids: _Optional[_Iterable[str]] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("version", "stage", "since_ms", "author", "reason", "counting", "verdict", "findings")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTING_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    version: int
    stage: str
    since_ms: int
    author: str
    reason: str
    counting: bool
    verdict: str
    findings: _containers.RepeatedCompositeFieldContainer[RolloutFinding]
    def __init__(self, version: _Optional[int] = ..., stage: _Optional[str] = ..., since_ms: _Optional[int] = ..., author: _Optional[str] = ..., reason: _Optional[str] = ..., counting: _Optional[bool] = ..., verdict: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[RolloutFinding, _Mapping]]] = ...) -> None: ...

class RolloutFinding(_message.Message):
    __slots__ = ("measure", "verdict", "candidate_bad", "candidate_of", "live_bad", "live_of", "difference", "low", "high", "margin", "needed")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_BAD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_OF_FIELD_NUMBER: _ClassVar[int]
    LIVE_BAD_FIELD_NUMBER: _ClassVar[int]
    LIVE_OF_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    measure: str
    verdict: str
    candidate_bad: int
    candidate_of: int
    live_bad: int
    live_of: int
    difference: float
    low: float
    high: float
    margin: float
    needed: bool
    def __init__(self, measure: _Optional[str] = ..., verdict: _Optional[str] = ..., candidate_bad: _Optional[int] = ..., candidate_of: _Optional[int] = ..., live_bad: _Optional[int] = ..., live_of: _Optional[int] = ..., difference: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., margin: _Optional[float] = ..., needed: _Optional[bool] = ...) -> None: ...

class ChangeModelRequest(_message.Message):
    __slots__ = ("model", "action", "version", "canary_percent", "author", "reason", "expected_revision", "force")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    action: ModelAction
    version: int
    canary_percent: float
    author: str
    reason: str
    expected_revision: int
    force: bool
    def __init__(self, model: _Optional[str] = ..., action: _Optional[_Union[ModelAction, str]] = ..., version: _Optional[int] = ..., canary_percent: _Optional[float] = ..., author: _Optional[str] = ..., reason: _Optional[str] = ..., expected_revision: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class ModelStep(_message.Message):
    __slots__ = ("revision", "action", "author", "reason", "forced", "at_ms", "live", "previous", "candidate", "canary_percent")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    action: str
    author: str
    reason: str
    forced: bool
    at_ms: int
    live: int
    previous: int
    candidate: int
    canary_percent: float
    def __init__(self, revision: _Optional[int] = ..., action: _Optional[str] = ..., author: _Optional[str] = ..., reason: _Optional[str] = ..., forced: _Optional[bool] = ..., at_ms: _Optional[int] = ..., live: _Optional[int] = ..., previous: _Optional[int] = ..., candidate: _Optional[int] = ..., canary_percent: _Optional[float] = ...) -> None: ...

class ListModelStepsRequest(_message.Message):
    __slots__ = ("model", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListModelStepsReply(_message.Message):
    __slots__ = ("steps", "meta")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[ModelStep]
    meta: ReplyMeta
    def __init__(self, steps: _Optional[_Iterable[_Union[ModelStep, _Mapping]]] = ..., meta: _Optional[_Union[ReplyMeta, _Mapping]] = ...) -> None: ...

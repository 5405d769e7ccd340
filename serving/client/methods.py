"""The methods that the client calls, each with its message types."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from serving.protos import commerce_pb2 as pb

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Request, Reply]):
    """One gRPC method: where it is, what goes in, what comes out."""

    service: str
    name: str
    request: type[Request]
    reply: type[Reply]
    streams: bool = False

    @property
    def path(self) -> str:
        """The path on the wire, e.g. "/cartwright.v1.Agent/Converse"."""
        return f"/{self.service}/{self.name}"


_AGENT = "cartwright.v1.Agent"
_KNOWLEDGE = "cartwright.v1.Knowledge"
_MODELS = "cartwright.v1.Models"

CONVERSE = Method(_AGENT, "Converse", pb.ConverseRequest, pb.ConverseReply)
CONVERSE_STREAM = Method(
    _AGENT, "ConverseStream", pb.ConverseRequest, pb.ConverseEvent, streams=True
)
UNDERSTAND = Method(_AGENT, "Understand", pb.UnderstandRequest, pb.UnderstandReply)
ANSWER = Method(_AGENT, "Answer", pb.AnswerRequest, pb.AnswerReply)
RECOMMEND = Method(_AGENT, "Recommend", pb.RecommendRequest, pb.RecommendReply)
DECIDE = Method(_AGENT, "Decide", pb.DecideRequest, pb.DecideReply)
RECORD_EVENTS = Method(
    "cartwright.v1.Events", "RecordEvents", pb.RecordEventsRequest, pb.RecordEventsReply
)
RECORD_FEEDBACK = Method(
    "cartwright.v1.Events", "RecordFeedback", pb.RecordFeedbackRequest, pb.RecordFeedbackReply
)
UPSERT_ARTICLES = Method(
    _KNOWLEDGE, "UpsertArticles", pb.UpsertArticlesRequest, pb.UpsertArticlesReply
)
DELETE_ARTICLES = Method(
    _KNOWLEDGE, "DeleteArticles", pb.DeleteArticlesRequest, pb.DeleteArticlesReply
)
LIST_ARTICLES = Method(_KNOWLEDGE, "ListArticles", pb.ListArticlesRequest, pb.ListArticlesReply)
LIST_MODELS = Method(_MODELS, "ListModels", pb.ListModelsRequest, pb.ListModelsReply)
SHOW_MODEL = Method(_MODELS, "ShowModel", pb.ShowModelRequest, pb.ShowModelReply)
CHANGE_MODEL = Method(_MODELS, "ChangeModel", pb.ChangeModelRequest, pb.ShowModelReply)
LIST_MODEL_STEPS = Method(
    _MODELS, "ListModelSteps", pb.ListModelStepsRequest, pb.ListModelStepsReply
)
CHECK: Method[Any, Any] = Method(
    "grpc.health.v1.Health", "Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
)

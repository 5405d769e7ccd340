"""Bad input against the whole stack: through HAProxy, Ray Serve and the ingress."""

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.cli.local_stack import LocalStack
from serving.protos import commerce_pb2 as pb

pytestmark = pytest.mark.integration

AGENT = "/cartwright.v1.Agent"


@pytest.fixture(scope="module")
def channel(stack: LocalStack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.address) as connected:
        yield connected


def status_of(
    channel: grpc.Channel, path: str, request: bytes, **metadata: str
) -> tuple[grpc.StatusCode, str]:
    """Code and text with which a call ended; OK has the length of the reply as its text."""
    pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    try:
        reply = channel.unary_unary(path)(request, timeout=20, metadata=pairs)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, str(len(reply))


def recommend(**fields: object) -> bytes:
    return pb.RecommendRequest(**fields).SerializeToString()  # type: ignore[arg-type]


UNDERSTAND = pb.UnderstandRequest(text="hello").SerializeToString()
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("path", "request_bytes", "metadata", "code", "says"),
    [
        pytest.param(f"{AGENT}/Understand", b"", {}, INVALID, "text: is empty", id="empty text"),
        pytest.param(
            f"{AGENT}/Understand",
            pb.UnderstandRequest(text="x" * 100_000).SerializeToString(),
            {},
            INVALID,
            "text: has 100000 characters",
            id="100 kB of text",
        ),
        pytest.param(
            f"{AGENT}/Understand", b"\x0a\x02\xff\xfe", {}, INVALID, "UTF-8", id="invalid UTF-8"
        ),
        pytest.param(
            f"{AGENT}/Recommend",
            recommend(session_id="s", top_k=0),
            {},
            INVALID,
            "top_k: must be from 1 to 100, got 0",
            id="k of 0",
        ),
        pytest.param(
            f"{AGENT}/Recommend",
            recommend(session_id="s", top_k=10_000),
            {},
            INVALID,
            "top_k: must be from 1 to 100, got 10000",
            id="k of 10,000",
        ),
        pytest.param(
            f"{AGENT}/Recommend",
            recommend(top_k=5),
            {},
            INVALID,
            "customer_id: is empty",
            id="nobody to recommend to",
        ),
        pytest.param(
            f"{AGENT}/Recommend",
            recommend(session_id="s", top_k=5, category="no/such/category"),
            {},
            INVALID,
            "category: ",
            id="unknown category",
        ),
        pytest.param(
            f"{AGENT}/Understand",
            UNDERSTAND,
            {"cartwright_deadline_ms": "-20"},
            INVALID,
            "cartwright-deadline-ms: ",
            id="negative deadline",
        ),
        pytest.param(
            f"{AGENT}/Converse",
            pb.ConverseRequest(text="hi").SerializeToString(),
            {},
            INVALID,
            "session_id: is empty",
            id="no session",
        ),
        pytest.param(
            "/cartwright.v1.Nobody/Understand",
            UNDERSTAND,
            {},
            grpc.StatusCode.UNIMPLEMENTED,
            "",
            id="wrong service",
        ),
        pytest.param(
            "/cartwright.v1.Events/RecordEvents",
            pb.RecordEventsRequest(
                events=[
                    pb.Event(event_id="e", kind=pb.EVENT_KIND_VIEW, product_id="x", session_id="s")
                ]
            ).SerializeToString(),
            {},
            INVALID,
            "events[0].product_id: ",
            id="event with an unknown product",
        ),
        pytest.param(
            "/cartwright.v1.Knowledge/UpsertArticles",
            pb.UpsertArticlesRequest(
                articles=[pb.Article(article_id="a", title="t", body=" ")]
            ).SerializeToString(),
            {},
            INVALID,
            "articles[0].body: is empty",
            id="article without a body",
        ),
    ],
)
def test_bad_input_is_refused_with_the_field_and_the_reason(
    channel: grpc.Channel,
    path: str,
    request_bytes: bytes,
    metadata: dict[str, str],
    code: grpc.StatusCode,
    says: str,
) -> None:
    ended, details = status_of(channel, path, request_bytes, **metadata)
    assert ended is code, details
    assert says in details


def test_a_deadline_of_one_millisecond_is_exceeded(channel: grpc.Channel) -> None:
    ended, _ = status_of(channel, f"{AGENT}/Understand", UNDERSTAND, cartwright_deadline_ms="1")
    assert ended is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unknown_customer_gets_popular_items_and_is_told_so(channel: grpc.Channel) -> None:
    call = channel.unary_unary(f"{AGENT}/Recommend")
    reply = pb.RecommendReply.FromString(
        call(recommend(customer_id="nobody-at-all", top_k=5), timeout=20)
    )
    assert len(reply.items) == 5
    assert [d.step for d in reply.meta.degraded] == ["history"]
    assert "nobody-at-all" in reply.meta.degraded[0].reason


def test_an_unknown_service_has_no_health(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

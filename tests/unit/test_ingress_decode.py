"""Decoding refuses what is unusable, by the caller's own field names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequest
from serving.ingress import decode
from serving.protos import commerce_pb2 as pb
from serving.settings import DialogueSettings, LimitSettings
from serving.types import Feedback

LIMITS = LimitSettings()
NOW_MS = 1_700_000_000_000


def refusal(function: object, *arguments: object, **named: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        function(*arguments, **named)  # type: ignore[operator]
    return caught.value


def event(**changes: object) -> pb.Event:
    fields: dict[str, object] = {
        "event_id": "e1",
        "kind": pb.EVENT_KIND_VIEW,
        "product_id": "p1",
        "session_id": "s1",
        **changes,
    }
    return pb.Event(**fields)  # type: ignore[arg-type]


def feedback(**changes: object) -> pb.Feedback:
    fields: dict[str, object] = {"trace_id": "ab" * 16, "rating": pb.RATING_HELPFUL, **changes}
    return pb.Feedback(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"kind": pb.EVENT_KIND_UNSPECIFIED}, "kind"),
        ({"kind": 99}, "kind"),
        ({"product_id": " "}, "product_id"),
        ({"session_id": ""}, "customer_id"),
        ({"session_id": "x" * 129}, "session_id"),
        ({"session_id": "a\x00b"}, "session_id"),
        ({"occurred_at_ms": -1}, "occurred_at_ms"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_one_bad_event_refuses_all_and_is_named(change: dict[str, object], field: str) -> None:
    request = (
        pb.RecordEventsRequest(events=[event(), event(event_id="e2", **change)])
        if ("event_id" not in change)
        else pb.RecordEventsRequest(events=[event(), event(**change)])
    )
    assert refusal(decode.events, request, LIMITS, NOW_MS).field == f"events[1].{field}"


def test_an_event_without_a_time_happens_now() -> None:
    (decoded,) = decode.events(pb.RecordEventsRequest(events=[event()]), LIMITS, NOW_MS)
    assert decoded.occurred_at_ms == NOW_MS


@pytest.mark.parametrize("count", [0, 501])
def test_the_number_of_events_is_bounded(count: int) -> None:
    request = pb.RecordEventsRequest(events=[event(event_id=str(i)) for i in range(count)])
    assert refusal(decode.events, request, LIMITS, NOW_MS).field == "events"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trace_id": ""}, "trace_id"),
        ({"trace_id": "ab" * 15}, "trace_id"),
        ({"trace_id": "ab" * 16 + "\n"}, "trace_id"),
        ({"trace_id": "ab" * 17}, "trace_id"),
        ({"trace_id": "zz" * 16}, "trace_id"),
        # Digits to some, and not to Unix.
        ({"trace_id": "\u0661" * 32}, "trace_id"),
        ({"trace_id": "0" * 32}, "trace_id"),
        ({"rating": pb.RATING_UNSPECIFIED}, "rating"),
        ({"rating": 3}, "rating"),
        ({"comment": "x" * (LIMITS.max_comment_chars + 1)}, "comment"),
        ({"occurred_at_ms": -1}, "occurred_at_ms"),
    ],
)
def test_one_bad_feedback_refuses_all_and_is_named(change: dict[str, object], field: str) -> None:
    request = pb.RecordFeedbackRequest(feedback=[feedback(), feedback(**change)])
    error = refusal(decode.feedback, request, LIMITS, NOW_MS)
    assert error.field == f"feedback[1].{field}"


def test_feedback_is_decoded_whole() -> None:
    request = pb.RecordFeedbackRequest(
        feedback=[
            feedback(trace_id="AB" * 16, comment=" \n"),
            feedback(
                rating=pb.RATING_NOT_HELPFUL,
                comment=" " * 50 + "x" * LIMITS.max_comment_chars,
                occurred_at_ms=7,
            ),
        ]
    )
    assert decode.feedback(request, LIMITS, NOW_MS) == [
        Feedback(trace_id="ab" * 16, helpful=True, occurred_at_ms=NOW_MS),
        Feedback(
            trace_id="ab" * 16,
            helpful=False,
            comment="x" * LIMITS.max_comment_chars,
            occurred_at_ms=7,
        ),
    ]


@pytest.mark.parametrize("count", [0, LIMITS.max_feedback + 1])
def test_the_amount_of_feedback_is_bounded(count: int) -> None:
    request = pb.RecordFeedbackRequest(feedback=[feedback()] * count)
    assert refusal(decode.feedback, request, LIMITS, NOW_MS).field == "feedback"


def test_an_article_twice_in_a_request_names_both() -> None:
    article = pb.Article(article_id="a", title="t", body="b")
    request = pb.UpsertArticlesRequest(articles=[article, article])
    error = refusal(decode.articles, request, LIMITS, NOW_MS)
    assert error.field == "articles[1].article_id"
    assert "articles[0]" in error.reason


def test_ids_to_delete_count_once() -> None:
    request = pb.DeleteArticlesRequest(article_ids=["b", "a", "b"])
    assert decode.article_ids(request, LIMITS) == ["b", "a"]


@pytest.mark.parametrize(("given_size", "size"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_sizes(given_size: int, size: int) -> None:
    assert decode.page(pb.ListArticlesRequest(page_size=given_size), LIMITS) == ("", size)


@pytest.mark.parametrize("size", [-1, 1001])
def test_unusable_page_sizes(size: int) -> None:
    request = pb.ListArticlesRequest(page_size=size)
    assert refusal(decode.page, request, LIMITS).field == "page_size"


def test_a_turn_without_a_number_of_items_takes_the_default() -> None:
    request = pb.ConverseRequest(session_id="s", text="  hi  ")
    turn = decode.turn(request, LIMITS, DialogueSettings())
    assert (turn.text, turn.top_k) == ("hi", DialogueSettings().default_top_k)


@given(st.integers(min_value=-(2**31), max_value=2**31 - 1))
def test_a_count_is_in_its_bounds_or_refused(value: int) -> None:
    try:
        assert decode.count("top_k", value, maximum=100) == value
        assert 1 <= value <= 100
    except InvalidRequest as error:
        assert error.field == "top_k"
        assert not 1 <= value <= 100


@given(st.text(max_size=300))
def test_any_text_is_taken_stripped_or_refused_by_name(value: str) -> None:
    try:
        taken = decode.text("text", value, 200)
        assert taken == value.strip()
        assert 0 < len(taken) <= 200
    except InvalidRequest as error:
        assert error.field == "text"
        assert not value.strip() or len(value) > 200

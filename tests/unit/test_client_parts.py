"""Parts of the client that need no connection: pauses, method table, statuses, requests."""

import math
import random
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import serving.client
from serving.client import methods, requests
from serving.client.attempts import Attempts, RetryPolicy
from serving.client.errors import UnexpectedStatus, error_of
from serving.client.pool import ChannelPool
from serving.errors import CartwrightError, InvalidRequest, Overloaded
from serving.protos import commerce_pb2 as pb


def test_public_names() -> None:
    assert sorted(serving.client.__all__) == [
        "AsyncCommerceClient",
        "CommerceClient",
        "RetryPolicy",
        "UnexpectedStatus",
    ]
    assert all(hasattr(serving.client, name) for name in serving.client.__all__)


def test_method_table_is_the_contract() -> None:
    table = {
        method.path: (method.request.DESCRIPTOR, method.reply.DESCRIPTOR, method.streams)
        for method in vars(methods).values()
        if isinstance(method, methods.Method) and method is not methods.CHECK
    }
    contract = {
        f"/{service.full_name}/{method.name}": (
            method.input_type,
            method.output_type,
            method.server_streaming,
        )
        for service in pb.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert table == contract


@given(
    st.integers(1, 10_000),
    st.floats(0.01, 1000),
    st.floats(1, 1000),
    st.integers(0, 2**32),
)
def test_pauses_stay_within_their_growing_bound(
    failures: int, first_ms: float, factor: float, seed: int
) -> None:
    policy = RetryPolicy(
        max_attempts=5, first_pause_ms=first_ms, longest_pause_ms=first_ms * factor
    )
    pause_ms = policy.pause_ms(failures, random.Random(seed))
    exponent = min(failures - 1, 100)
    assert 0 <= pause_ms <= min(first_ms * 2.0**exponent, first_ms * factor)


def test_pauses_use_their_whole_range() -> None:
    policy = RetryPolicy(first_pause_ms=100, longest_pause_ms=400)
    generator = random.Random(11)
    for failures, bound in ((1, 100), (2, 200), (3, 400), (9, 400)):
        pauses = [policy.pause_ms(failures, generator) for _ in range(2000)]
        assert sum(pauses) / len(pauses) == pytest.approx(bound / 2, rel=0.1)
        assert min(pauses) < bound * 0.02
        assert max(pauses) > bound * 0.98


@pytest.mark.parametrize(
    "values",
    [
        {"max_attempts": 0},
        {"first_pause_ms": 0},
        {"first_pause_ms": math.nan},
        {"first_pause_ms": 20, "longest_pause_ms": 10},
    ],
    ids=str,
)
def test_unusable_policy_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attempts|first_pause_ms"):
        RetryPolicy(**values)


def test_shortest_deadline_is_announced_as_more_than_zero() -> None:
    attempts = Attempts(600_000, "", RetryPolicy(), random.Random(0))
    announced = dict(attempts.begin().metadata)["cartwright-deadline-ms"]
    assert 599_000 < float(announced) <= 600_000
    with pytest.raises(CartwrightError, match="passed before the call was sent"):
        # A nanosecond is over before the first attempt can begin.
        Attempts(1e-6, "", RetryPolicy(), random.Random(0)).begin()


class _Failure(grpc.RpcError):
    """What gRPC raises, without a connection."""

    def __init__(self, code: grpc.StatusCode, details: str | None, trailers: Any = None) -> None:
        self._status = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._status[0]

    def details(self) -> str | None:
        return self._status[1]

    def trailing_metadata(self) -> Any:
        return self._status[2]


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
@pytest.mark.parametrize("details", ["because", "", None])
def test_every_status_becomes_an_error_with_the_same_code(
    code: grpc.StatusCode, details: str | None
) -> None:
    error = error_of(_Failure(code, details), deadline_ms=5, trace_id="ab")
    assert error.code is code
    assert details or code.name in error.message
    assert (error.trace_id, error.error_id) == ("ab", "")


def test_binary_trailers_do_no_harm() -> None:
    trailers = (("x-bin", b"\xff"), ("retry-after-ms", "70"), ("error-id", "i1"))
    failure = _Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
    error = error_of(failure, deadline_ms=5, trace_id="")
    assert isinstance(error, Overloaded)
    assert (error.retry_after_ms, error.error_id) == (70, "i1")


def test_unexpected_status_keeps_its_code_apart_from_its_class() -> None:
    assert UnexpectedStatus("DATA_LOSS", "x").code is grpc.StatusCode.DATA_LOSS
    assert UnexpectedStatus.code is CartwrightError.code


@given(st.text(), st.text(max_size=20), st.integers())
def test_requests_are_encoded_or_refused(text: str, session_id: str, top_k: int) -> None:
    encodable = -(2**31) <= top_k < 2**31 and _is_unicode(text) and _is_unicode(session_id)
    try:
        request: Message = requests.converse(text, session_id, "", top_k)
    except InvalidRequest:
        assert not encodable
    else:
        assert encodable
        copy = pb.ConverseRequest.FromString(request.SerializeToString())
        assert (copy.text, copy.session_id, copy.top_k) == (text, session_id, top_k)


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def test_pool_gives_the_least_loaded_connection() -> None:
    opened: list[object] = []

    def open_channel() -> object:
        opened.append(object())
        return opened[-1]

    pool = ChannelPool(open_channel, 3)
    assert opened == []
    with pool.lease() as first, pool.lease() as second:
        assert len(opened) == 3
        with pool.lease() as third:
            assert len({id(first), id(second), id(third)}) == 3
            with pool.lease() as fourth:
                assert fourth.in_flight == 2
        with pool.lease() as again:
            assert again is third
    assert [first.in_flight, second.in_flight, third.in_flight] == [0, 0, 0]
    assert pool.close() == opened


def test_failed_call_gives_its_connection_back() -> None:
    pool = ChannelPool(object, 1)
    with pytest.raises(KeyError), pool.lease() as connection:
        raise KeyError
    assert connection.in_flight == 0

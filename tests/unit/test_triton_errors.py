import pickle

import grpc
import pytest

from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    Internal,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
)
from serving.triton.errors import HostLost, meaning_of

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (Code.UNAVAILABLE, "[request id: <id_unknown>] Exceeds maximum queue size", Overloaded),
        (Code.UNAVAILABLE, "Request timeout expired", DeadlineExceeded),
        (Code.UNAVAILABLE, "Server not ready", HostLost),
        (Code.UNAVAILABLE, "Server is stopping, scheduler for model has stopped", HostLost),
        (Code.UNAVAILABLE, "failed to connect to all addresses; Connection refused", HostLost),
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", HostLost),
        (Code.NOT_FOUND, "Request for unknown model: 'm' is not found", HostLost),
        (Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions", HostLost),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceeded),
        (Code.CANCELLED, "", HostLost),
        (Code.INVALID_ARGUMENT, "unexpected inference input 'q'", ModelContractViolated),
        (Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max", ModelContractViolated),
        (Code.RESOURCE_EXHAUSTED, "too many", Overloaded),
        (Code.INTERNAL, "Stub process 'm_0_0' is not healthy.", HostLost),
        (Code.INTERNAL, "something else", Internal),
        (Code.UNKNOWN, "", Internal),
        (Code.UNIMPLEMENTED, "Method not found!", HostLost),
    ],
)
def test_a_status_means_what_its_text_says(
    code: grpc.StatusCode, details: str, kind: type[CartwrightError]
) -> None:
    error = meaning_of(code, details, "ranker", "10.0.0.1:8001")
    assert type(error) is kind
    assert error.message.startswith("model ranker at 10.0.0.1:8001")
    assert details in error.message


def test_every_status_has_a_meaning() -> None:
    for code in Code:
        assert isinstance(meaning_of(code, "text", "m", "h:1"), CartwrightError)


def test_a_text_of_another_status_does_not_count() -> None:
    assert type(meaning_of(Code.INTERNAL, "Exceeds maximum queue size", "m", "h:1")) is Internal


def test_a_lost_host_is_unavailable_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(HostLost("gone")))
    assert isinstance(error, ModelUnavailable)
    assert error.code is Code.UNAVAILABLE
    assert error.message == "gone"


def test_texts_of_several_lines_become_one() -> None:
    error = meaning_of(Code.INTERNAL, "first\n\n  second\n", "m", "h:1")
    assert error.message == "model m at h:1: first second (INTERNAL)"

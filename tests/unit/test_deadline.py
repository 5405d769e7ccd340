"""The time budget of a request."""

import pytest

from serving.deadline import LONGEST_MS, METADATA_KEY, Deadline
from serving.errors import DeadlineExceeded, InvalidRequest


def test_the_clients_deadline_wins_over_the_default() -> None:
    assert 40 < Deadline.from_metadata("50", 1000).remaining_ms() <= 50
    assert 900 < Deadline.from_metadata(None, 1000).remaining_ms() <= 1000


@pytest.mark.parametrize("value", ["", "soon", "-1", "0", "nan", "inf", str(LONGEST_MS + 1)])
def test_unusable_deadlines_name_their_key(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Deadline.from_metadata(value, 1000)
    assert caught.value.field == METADATA_KEY


def test_what_cannot_end_in_time_is_not_begun() -> None:
    deadline = Deadline.after_ms(20)
    deadline.require(1, "a look")
    with pytest.raises(DeadlineExceeded, match="the ranker needs 500 ms"):
        deadline.require(500, "the ranker")


def test_a_passed_deadline_has_no_time_for_anything() -> None:
    deadline = Deadline.after_ms(-5)
    assert deadline.remaining_ms() < 0
    with pytest.raises(DeadlineExceeded):
        deadline.require(0, "anything")

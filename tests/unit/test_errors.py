"""The tree: codes, messages, and the way between processes."""

import inspect
import pickle

import grpc
import pytest

from serving import errors


def every_class() -> list[type[errors.CartwrightError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CartwrightError)
    ]


def made(kind: type[errors.CartwrightError]) -> errors.CartwrightError:
    if kind is errors.InvalidRequest:
        return errors.InvalidRequest("top_k", "must be from 1 to 100, got 0")
    if kind is errors.Overloaded:
        return errors.Overloaded("full", 120)
    return kind("what happened")


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_class_survives_pickling(kind: type[errors.CartwrightError]) -> None:
    error = made(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.args == error.args
    assert copy.message == error.message
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_class_has_a_code_that_is_not_ok(kind: type[errors.CartwrightError]) -> None:
    assert isinstance(kind.code, grpc.StatusCode)
    assert kind.code is not grpc.StatusCode.OK


def test_the_docstring_shows_the_whole_tree() -> None:
    assert errors.__doc__ is not None
    for kind in every_class():
        assert kind.__name__ in errors.__doc__


def test_a_bad_request_names_the_field_and_the_reason() -> None:
    assert made(errors.InvalidRequest).message == "top_k: must be from 1 to 100, got 0"

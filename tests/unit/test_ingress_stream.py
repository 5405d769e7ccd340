"""A stream that its reader leaves early gives everything back before its closing returns."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from serving.context import RequestContext
from serving.errors import Overloaded
from serving.ingress.admission import Admission, Priority
from serving.ingress.call import Method, server_stream
from serving.settings import AdmissionSettings


class _Call:
    """A call's context without a wire; keeps the status."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None: ...

    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


async def test_a_reader_that_leaves_ends_the_work_before_its_place_is_free() -> None:
    admission = Admission(AdmissionSettings(max_in_flight=1, min_in_flight=1))
    method = Method(
        service="cartwright.v1.Agent", name="Any", default_deadline_ms=5000.0, admission=admission
    )
    in_flight_at_the_end: list[int] = []

    async def work(_context: RequestContext) -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            in_flight_at_the_end.append(admission.in_flight)

    async with aclosing(server_stream(method, None, _Call(), work)) as stream:
        assert await anext(stream) == 1
        with pytest.raises(Overloaded):
            admission.enter(Priority.BUY)
    assert in_flight_at_the_end == [1]
    assert admission.in_flight == 0

"""Makes one call with a deadline and tells how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from loadtest import outcomes
from loadtest.calls import STREAMS, Call
from loadtest.outcomes import Outcome
from loadtest.stubs import StubPool
from serving.deadline import METADATA_KEY
from serving.errors import RETRY_AFTER_KEY

SERVER_TOTAL = "total"


@dataclass
class _Received:
    """What has come back of a call."""

    reply: Message | None = None
    first_event_at_s: float | None = None
    failure: Any = field(default=None)


class Sender:
    """Calls through a pool of stubs; every call has the same deadline."""

    def __init__(
        self,
        pool: StubPool,
        deadline_ms: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepares the sender.

        Args:
            pool: where to call.
            deadline_ms: time for each call, as gRPC's timeout and in the metadata.
            clock: seconds since any point.

        Raises:
            ValueError: `deadline_ms` is not above 0.
        """
        if not deadline_ms > 0:
            raise ValueError(f"deadline_ms must be above 0, got {deadline_ms:g}")
        self._pool = pool
        self._timeout_s = deadline_ms / 1000.0
        self._metadata = ((METADATA_KEY, f"{deadline_ms:.3f}"),)
        self._clock = clock

    def send(
        self, call: Call, *, scheduled_s: float, lateness_s: float = 0.0
    ) -> tuple[Outcome, Message | None]:
        """Makes the call and waits for its end.

        Args:
            call: what to call.
            scheduled_s: when it was due, in seconds since the start of the run.
            lateness_s: how long ago that is.

        Returns:
            How it ended, and the reply if there is one.
        """
        began_s = self._clock()
        with self._pool.lease() as stubs:
            received = self._receive(stubs.callable(call.method), call)
        service_s = self._clock() - began_s
        first_event_ms = None
        if received.first_event_at_s is not None:
            first_event_ms = (received.first_event_at_s - began_s + lateness_s) * 1000.0
        meta = getattr(received.reply, "meta", None)
        outcome = Outcome(
            method=call.method,
            name=_name(received),
            scheduled_s=scheduled_s,
            lateness_ms=lateness_s * 1000.0,
            service_ms=service_s * 1000.0,
            first_event_ms=first_event_ms,
            server_steps=() if meta is None else _server_steps(meta),
            degraded_steps=() if meta is None else tuple(d.step for d in meta.degraded),
            retry_after_ms=_retry_after_ms(received.failure),
        )
        return outcome, received.reply

    def _receive(self, stub: Any, call: Call) -> _Received:
        received = _Received()
        try:
            if call.method in STREAMS:
                events = stub(call.request, timeout=self._timeout_s, metadata=self._metadata)
                for event in events:
                    if received.first_event_at_s is None:
                        received.first_event_at_s = self._clock()
                    if event.WhichOneof("event") == "done":
                        received.reply = event.done
            else:
                received.reply = stub(
                    call.request, timeout=self._timeout_s, metadata=self._metadata
                )
        except grpc.RpcError as failure:
            received.failure = failure
        return received


def _name(received: _Received) -> str:
    if received.failure is not None:
        return str(received.failure.code().name)
    if received.reply is None:
        return outcomes.INCOMPLETE
    return outcomes.DEGRADED if received.reply.meta.degraded else outcomes.OK  # type: ignore[attr-defined]


def _server_steps(meta: Any) -> tuple[tuple[str, float], ...]:
    steps = tuple((timing.step, timing.duration_ms) for timing in meta.steps)
    return (*steps, (SERVER_TOTAL, meta.total_ms))


def _retry_after_ms(failure: Any) -> float | None:
    if failure is None:
        return None
    for key, value in failure.trailing_metadata() or ():
        if key == RETRY_AFTER_KEY:
            return float(value)
    return None

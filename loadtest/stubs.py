"""Channels with the generated stubs; a call takes the channel with the fewest calls under way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from loadtest.calls import METHODS
from serving.client.pool import CHANNEL_OPTIONS
from serving.protos import commerce_pb2_grpc


class Stubs:
    """The stubs of all services on one channel."""

    def __init__(self, address: str) -> None:
        self.in_flight = 0
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        # Generated code has no annotations.
        services: dict[str, Any] = {
            "Agent": commerce_pb2_grpc.AgentStub(self._channel),  # type: ignore[no-untyped-call]
            "Events": commerce_pb2_grpc.EventsStub(self._channel),  # type: ignore[no-untyped-call]
        }
        self._callables = {
            method: getattr(services[service], method) for method, service in METHODS.items()
        }

    def callable(self, method: str) -> Any:
        """What calls `method`, a key of `METHODS`."""
        return self._callables[method]

    def close(self) -> None:
        """Ends the connection and what is under way on it."""
        self._channel.close()


class StubPool:
    """A fixed number of connections. The ingress takes 100 concurrent streams on each."""

    def __init__(self, address: str, channels: int) -> None:
        """Opens nothing yet: gRPC connects with the first call.

        Raises:
            ValueError: `channels` is below 1.
        """
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self._stubs = [Stubs(address) for _ in range(channels)]

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return sum(stubs.in_flight for stubs in self._stubs)

    @contextmanager
    def lease(self) -> Iterator[Stubs]:
        """The least loaded connection, for one call."""
        # Nothing switches between the choice and the count: one process's calls run as greenlets.
        stubs = min(self._stubs, key=lambda s: s.in_flight)
        stubs.in_flight += 1
        try:
            yield stubs
        finally:
            stubs.in_flight -= 1

    def close(self) -> None:
        """Ends all connections."""
        for stubs in self._stubs:
            stubs.close()

"""Connections of a client: a call takes the one with the fewest calls under way.

The ingress accepts 100 concurrent streams a connection and lets further ones wait.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serving.client.methods import Method, Reply, Request

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # Without it, channels with the same target share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Attempts are ours: each one announces its own remaining time.
    ("grpc.enable_retries", 0),
    # A restarted server is found again within a call's deadline (default: 1 s, then up to 120 s).
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A page of 1,000 articles of 20,000 characters has to fit.
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
)


class Connection:
    """One channel, the calls under way on it, and its callables by method."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.in_flight = 0
        self._callables: dict[str, Any] = {}

    def callable(self, method: Method[Request, Reply]) -> Any:
        """What calls `method` on this channel."""
        call = self._callables.get(method.path)
        if call is None:
            make = self.channel.unary_stream if method.streams else self.channel.unary_unary
            call = self._callables[method.path] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.reply.FromString,
            )
        return call


class ChannelPool:
    """A fixed number of channels, opened when the first call needs them. Thread-safe."""

    def __init__(self, open_channel: Callable[[], Any], size: int) -> None:
        """Prepares the pool.

        Args:
            open_channel: makes one channel; called at the first call (asyncio channels belong to
                the loop that runs then).
            size: number of channels, at least 1.

        Raises:
            ValueError: `size` is below 1.
        """
        if size < 1:
            raise ValueError(f"channels must be at least 1, got {size}")
        self._open_channel = open_channel
        self._size = size
        self._connections: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def lease(self) -> Iterator[Connection]:
        """The least loaded connection, for one call.

        Raises:
            RuntimeError: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if not self._connections:
                self._connections = [Connection(self._open_channel()) for _ in range(self._size)]
            connection = min(self._connections, key=lambda c: c.in_flight)
            connection.in_flight += 1
        try:
            yield connection
        finally:
            with self._lock:
                connection.in_flight -= 1

    def close(self) -> list[Any]:
        """Takes no further call; returns the channels for the caller to close."""
        with self._lock:
            self._closed = True
            channels = [connection.channel for connection in self._connections]
            self._connections = []
        return channels

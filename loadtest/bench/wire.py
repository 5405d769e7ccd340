"""A unary gRPC client that costs next to nothing: HTTP/2 by hand, for one method a connection.

The load generator shares the cores with what it measures, so that each of its microseconds would
count against the server. Every request of a run has the same headers, which are therefore encoded
once; the header table of the peer is switched off, so that its trailers are the same bytes each
time and are decoded once. See RFC 9113 (frames) and RFC 7541 (headers).
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

OK = "0"
# Not a status of gRPC: the connection was lost, or the stream reset.
LOST = "LOST"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_TABLE_SIZE, _PUSH, _MAX_STREAMS, _INITIAL_WINDOW = 1, 2, 3, 4
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_LARGEST_FRAME = 16_384
# Names with an index in the static table; the few that a request needs.
_STATIC_NAMES = {":authority": 1, ":path": 4}
_POST, _HTTP = b"\x83", b"\x86"
_STATIC_STATUS_200 = 8
# Different trailers that are remembered; the same few come again and again.
_STATUSES = 1000

# Called with what was given to `send`, the status ("0" is OK) and the reply or the error's text.
OnDone = Callable[[Any, str, bytes], None]


class UnexpectedBytes(Exception):
    """The peer sent what this client does not understand."""


class Channel(asyncio.Protocol):
    """One connection. Requests beyond the peer's limits wait here, in order."""

    def __init__(self, path: str, metadata: Mapping[str, str], on_done: OnDone) -> None:
        """Opens nothing yet; give it to `loop.create_connection`.

        Args:
            path: of the method, e.g. "/cartwright.v1.Agent/Understand".
            metadata: headers of every request.
            on_done: called once for each request.
        """
        self.ready = asyncio.get_running_loop().create_future()
        self._headers = {
            ":path": path,
            "te": "trailers",
            "content-type": "application/grpc",
            **metadata,
        }
        self._on_done = on_done
        self._transport: Any = None
        self._received = bytearray()
        # By stream: what was given to `send`, and the pieces of the reply.
        self._streams: dict[int, tuple[Any, list[bytes]]] = {}
        self._waiting: deque[tuple[Any, bytes]] = deque()
        self._next_stream = 1
        self._max_streams = 100
        self._window = _DEFAULT_WINDOW
        self._stream_window = _DEFAULT_WINDOW
        self._block = b""
        self._partial = b""
        self._statuses: dict[bytes, tuple[str, bytes]] = {}

    def send(self, mark: Any, message: bytes) -> None:
        """Sends a serialised message; `mark` comes back with its reply."""
        if len(self._streams) >= self._max_streams or self._window < len(message) + 5:
            self._waiting.append((mark, message))
            return
        stream = self._next_stream
        self._next_stream += 2
        self._streams[stream] = (mark, [])
        size = len(message) + 5
        self._window -= size
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, self._block)
            + _frame(_DATA, _END_STREAM, stream, b"\0" + struct.pack(">I", size - 5) + message)
        )

    def close(self) -> None:
        """Closes the connection; what is under way is lost."""
        if self._transport is not None:
            self._transport.close()

    # ---- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says what this side wants."""
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self._block = _POST + _HTTP + encode_headers({":authority": f"{host}:{port}"})
        self._block += encode_headers(self._headers)
        settings = b"".join(
            struct.pack(">HI", key, value)
            for key, value in ((_TABLE_SIZE, 0), (_PUSH, 0), (_INITIAL_WINDOW, _LARGEST_WINDOW))
        )
        self._transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails what is under way."""
        self._fail(f"connection lost: {exc}")

    def data_received(self, data: bytes) -> None:
        """Takes whole frames out of what has come."""
        received = self._received
        received += data
        at = 0
        while len(received) - at >= 9:
            end = at + 9 + int.from_bytes(received[at : at + 3], "big")
            if len(received) < end:
                break
            stream = int.from_bytes(received[at + 5 : at + 9], "big")
            self._take(received[at + 3], received[at + 4], stream, bytes(received[at + 9 : end]))
            at = end
        del received[:at]

    # ---- frames ------------------------------------------------------------------------------

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _DATA:
            if stream in self._streams:
                self._streams[stream][1].append(_unpadded(flags, body))
            if flags & _END_STREAM:
                self._done(stream, LOST, b"the reply ended without a status")
        elif kind == _HEADERS:
            body = _unpadded(flags, body)
            if flags & _PRIORITY:
                body = body[5:]
            if not flags & _END_HEADERS:
                raise UnexpectedBytes("headers in several frames")
            if flags & _END_STREAM:
                status, text = self._status(body)
                pieces = self._streams[stream][1] if stream in self._streams else []
                self._done(stream, status, b"".join(pieces)[5:] if status == OK else text)
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._apply(body)
                self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
                if not self.ready.done():
                    self.ready.set_result(None)
        elif kind == _WINDOW:
            if stream == 0:
                self._window += int.from_bytes(body, "big")
                self._send_waiting()
        elif kind == _PING:
            if not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, body))
        elif kind == _RESET:
            self._done(stream, LOST, f"stream reset: {int.from_bytes(body, 'big')}".encode())
        elif kind == _GOAWAY:
            self._fail(f"sent away: {body[8:].decode(errors='replace')}")
        elif kind == _CONTINUATION:
            raise UnexpectedBytes("headers in several frames")

    def _apply(self, body: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", body):
            if key == _MAX_STREAMS:
                self._max_streams = value
            elif key == _INITIAL_WINDOW:
                self._stream_window = value

    def _status(self, block: bytes) -> tuple[str, bytes]:
        known = self._statuses.get(block)
        if known is None:
            headers = decode_headers(block)
            status = headers.get("grpc-status", f"HTTP {headers.get(':status', '?')}")
            known = (status, headers.get("grpc-message", "").encode())
            if len(self._statuses) < _STATUSES:
                self._statuses[block] = known
        return known

    def _done(self, stream: int, status: str, content: bytes) -> None:
        entry = self._streams.pop(stream, None)
        if entry is not None:
            self._send_waiting()
            self._on_done(entry[0], status, content)

    def _send_waiting(self) -> None:
        while self._waiting and len(self._streams) < self._max_streams:
            if self._window < len(self._waiting[0][1]) + 5:
                return
            self.send(*self._waiting.popleft())

    def _fail(self, reason: str) -> None:
        lost = [mark for mark, _ in self._streams.values()] + [mark for mark, _ in self._waiting]
        self._streams.clear()
        self._waiting.clear()
        for mark in lost:
            self._on_done(mark, LOST, reason.encode())


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Header fields as literals that nobody has to remember.

    Raises:
        ValueError: a name or a value is longer than one byte can say here.
    """
    block = b""
    for name, value in headers.items():
        index = _STATIC_NAMES.get(name, 0)
        block += bytes([index]) + (b"" if index else _string(name)) + _string(value)
    return block


def decode_headers(block: bytes) -> dict[str, str]:
    """Header fields of a peer that keeps no table.

    Raises:
        UnexpectedBytes: it does use its table, or Huffman's code.
    """
    headers: dict[str, str] = {}
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            if index == _STATIC_STATUS_200:
                headers[":status"] = "200"
            continue
        if first & 0x20 and not first & 0x40:
            # The peer says how large its table is: zero, as it was told.
            _, at = _integer(block, at, 5)
            continue
        index, at = _integer(block, at, 6 if first & 0x40 else 4)
        name, at = (f"static {index}", at) if index else _read_string(block, at)
        value, at = _read_string(block, at)
        headers[":status" if 8 <= index <= 14 else name] = value
    return headers


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number in the low bits of a byte, and further bytes if they do not suffice."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _read_string(block: bytes, at: int) -> tuple[str, int]:
    if block[at] & 0x80:
        raise UnexpectedBytes("a header in Huffman's code")
    length, at = _integer(block, at, 7)
    return block[at : at + length].decode("latin-1"), at + length


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 126:
        raise ValueError(f"header too long for this client: {text!r}")
    return bytes([len(raw)]) + raw


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    if len(body) > _LARGEST_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes; at most {_LARGEST_FRAME} can be sent")
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _unpadded(flags: int, body: bytes) -> bytes:
    return body[1 : len(body) - body[0]] if flags & _PADDED else body


def spread(channels: Sequence[Channel], count: int) -> list[Channel]:
    """`count` channels out of these, each as often as the others."""
    return [channels[i % len(channels)] for i in range(count)]

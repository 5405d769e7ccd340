"""The HTTP/2 of the load generator, fed with frames by hand."""

import asyncio
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.wire import LOST, OK, Channel, UnexpectedBytes, decode_headers, encode_headers

NAMES = st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100)
PREFACE_SIZE = 24
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 9000)})
        self.written = bytearray()

    def write(self, data: Any) -> None:
        self.written += data

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, body) of what was written since the last call."""
        data = bytes(self.written).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.written.clear()
        found = []
        while data:
            end = 9 + int.from_bytes(data[:3], "big")
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
            data = data[end:]
        return found


class Peer:
    """A channel with its transport, and what came back."""

    def __init__(self) -> None:
        self.replies: list[tuple[Any, str, bytes]] = []
        self.channel = Channel("/a.B/C", {"x-deadline": "5"}, lambda *r: self.replies.append(r))
        self.transport = Transport()
        self.channel.connection_made(self.transport)
        self.transport.frames()

    def receive(self, *frames: bytes) -> None:
        self.channel.data_received(b"".join(frames))


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))[1:]
        + struct.pack(">BB", kind, flags)
        + struct.pack(">I", stream)
        + body
    )


def reply(stream: int, content: bytes, status: str = "0", **more: str) -> bytes:
    """A whole reply of a peer that keeps no table."""
    message = b"\0" + struct.pack(">I", len(content)) + content
    trailers = encode_headers({"grpc-status": status, **more})
    return (
        frame(HEADERS, 0x4, stream, b"\x20\x88")
        + frame(DATA, 0, stream, message)
        + frame(HEADERS, 0x5, stream, trailers)
    )


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_headers_come_back_as_they_were(headers: dict[str, str]) -> None:
    assert decode_headers(b"\x20" + encode_headers(headers)) == headers


def test_refuses_headers_that_need_a_table_or_huffmans_code() -> None:
    with pytest.raises(UnexpectedBytes, match="Huffman"):
        decode_headers(b"\x00\x81\xff\x81\xff")


async def test_a_request_carries_path_metadata_and_message() -> None:
    peer = Peer()
    peer.channel.send("first", b"hello")
    (kind, flags, stream, block), data = peer.transport.frames()
    assert (kind, flags, stream) == (HEADERS, 0x4, 1)
    sent = decode_headers(block)
    assert sent["static 4"] == "/a.B/C"
    assert sent["x-deadline"] == "5"
    assert data == (DATA, 0x1, 1, b"\0\0\0\0\5hello")


async def test_replies_find_their_requests_however_the_bytes_are_cut() -> None:
    peer = Peer()
    for mark in ("first", "second", "third"):
        peer.channel.send(mark, b"")
    data = reply(5, b"c") + reply(1, b"a" * 300) + reply(3, b"", "8", **{"grpc-message": "full"})
    for at in range(0, len(data), 7):
        peer.receive(data[at : at + 7])
    assert peer.replies == [
        ("third", OK, b"c"),
        ("first", OK, b"a" * 300),
        ("second", "8", b"full"),
    ]


async def test_waits_for_a_free_stream_and_for_the_window() -> None:
    peer = Peer()
    peer.receive(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 2)))
    assert peer.transport.frames() == [(SETTINGS, 0x1, 0, b"")]
    assert peer.channel.ready.done()
    for mark in range(4):
        peer.channel.send(mark, b"x" * 15_000)
    assert len(peer.transport.frames()) == 2 * 2
    peer.receive(reply(1, b""), reply(3, b""))
    assert len(peer.transport.frames()) == 2 * 2
    # 60,020 of the first 65,535 bytes are used up.
    peer.receive(reply(5, b""), reply(7, b""))
    peer.channel.send(4, b"x" * 15_000)
    assert peer.transport.frames() == []
    peer.receive(frame(WINDOW, 0, 0, struct.pack(">I", 60_000)))
    assert [f[2] for f in peer.transport.frames()] == [9, 9]


async def test_answers_pings_and_skips_what_it_does_not_know() -> None:
    peer = Peer()
    peer.receive(
        frame(PING, 0, 0, b"12345678"), frame(0xBE, 0, 0, b"?"), frame(PING, 1, 0, b"1" * 8)
    )
    assert peer.transport.frames() == [(PING, 0x1, 0, b"12345678")]


async def test_a_reset_a_farewell_and_a_lost_connection_fail_the_requests() -> None:
    peer = Peer()
    for mark in ("reset", "sent away"):
        peer.channel.send(mark, b"")
    peer.receive(frame(RESET, 0, 1, struct.pack(">I", 8)))
    peer.receive(frame(GOAWAY, 0, 0, struct.pack(">II", 3, 2) + b"enough"))
    assert peer.replies == [
        ("reset", LOST, b"stream reset: 8"),
        ("sent away", LOST, b"sent away: enough"),
    ]
    peer.channel.send("lost", b"")
    peer.channel.connection_lost(None)
    assert peer.replies[2][:2] == ("lost", LOST)


async def test_a_reply_without_a_status_is_not_ok() -> None:
    peer = Peer()
    peer.channel.send("cut", b"")
    peer.channel.send("plain HTTP", b"")
    peer.receive(frame(DATA, 0x1, 1, b""), frame(HEADERS, 0x5, 3, b"\x08\x03503"))
    assert [r[1] for r in peer.replies] == [LOST, "HTTP 503"]

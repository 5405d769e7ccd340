"""A small OTLP/HTTP receiver on loopback that keeps spans by trace: for one trace on a terminal.

agent (protobuf), tritonserver (JSON) ─POST /v1/traces─▶ SpanReceiver ─▶ wait_for(trace_id)
"""

import logging
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from serving.telemetry.otlp import SpanRecord, UnreadableSpans, parse_json, parse_protobuf

logger = logging.getLogger(__name__)

TRACES_PATH = "/v1/traces"
MAX_BODY_BYTES = 64 * 1024 * 1024


class SpanReceiver:
    """Listens while it is open. Thread-safe."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, max_traces: int = 1000) -> None:
        """Starts to listen.

        Args:
            host: loopback address to bind.
            port: port to bind; 0 takes a free one.
            max_traces: the oldest trace is forgotten beyond this; the receiver is not a store.

        Raises:
            OSError: the address is taken (`errno.EADDRINUSE`) or not ours.
        """
        self._traces: OrderedDict[str, dict[str, SpanRecord]] = OrderedDict()
        self._max_traces = max_traces
        self._changed = threading.Condition()
        self._server = _Server((host, port), self._store)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="otlp-receiver",
            daemon=True,
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Base URL for `TelemetrySettings.otlp_endpoint`."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening; what was received stays readable."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self, trace_id: str) -> list[SpanRecord]:
        """What has arrived of a trace, by start time."""
        with self._changed:
            found = list(self._traces.get(trace_id, {}).values())
        return sorted(found, key=lambda span: (span.start_ns, span.end_ns))

    def wait_for(
        self,
        trace_id: str,
        until: Callable[[Sequence[SpanRecord]], bool],
        timeout_s: float,
    ) -> list[SpanRecord]:
        """Waits until the spans of a trace satisfy `until`, but not longer than `timeout_s`.

        Returns:
            What has arrived by then, by start time; whether that is enough, `until` can say.
        """
        ends_at = time.monotonic() + timeout_s
        with self._changed:
            # `spans` takes the lock again: a condition's default lock is re-entrant.
            while not until(found := self.spans(trace_id)):
                remaining_s = ends_at - time.monotonic()
                if remaining_s <= 0:
                    break
                self._changed.wait(remaining_s)
        return found

    def _store(self, spans: Sequence[SpanRecord]) -> None:
        with self._changed:
            for span in spans:
                # By id: an exporter that missed our answer sends its batch again.
                self._traces.setdefault(span.trace_id, {})[span.span_id] = span
            while len(self._traces) > self._max_traces:
                self._traces.popitem(last=False)
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    # Joined when the server closes, so that no socket outlives it.
    daemon_threads = False
    # The port of a receiver that was just closed is free at once.
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], store: Callable[[Sequence[SpanRecord]], None]
    ) -> None:
        self.store = store
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    # 1.1 for `Expect: 100-continue`, which libcurl sends before larger bodies.
    protocol_version = "HTTP/1.1"
    # Seconds on one socket operation.
    timeout = 5.0
    server: _Server

    def do_POST(self) -> None:
        """Takes one export request."""
        if not self.path.split("?")[0].endswith(TRACES_PATH):
            self._answer(HTTPStatus.NOT_FOUND, f"only {TRACES_PATH} is here")
            return
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length is needed")
        elif int(size) > MAX_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"above {MAX_BODY_BYTES} bytes")
        else:
            self._take(self.rfile.read(int(size)))

    def _take(self, body: bytes) -> None:
        is_json = self.headers.get_content_type() == "application/json"
        try:
            plain = _decoded(body, self.headers.get("Content-Encoding", "identity").lower())
            self.server.store(parse_json(plain) if is_json else parse_protobuf(plain))
        except UnreadableSpans as error:
            logger.warning("refused an export request: %s", error)
            self._answer(HTTPStatus.BAD_REQUEST, str(error))
            return
        # An empty message: everything was taken.
        self._answer(HTTPStatus.OK, "{}" if is_json else "", self.headers.get_content_type())

    def _answer(self, status: HTTPStatus, text: str, content_type: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        # One request a connection: closing never waits for an idle exporter.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Requests are not worth a line on the terminal."""
        logger.debug(format, *args)


def _decoded(body: bytes, encoding: str) -> bytes:
    """The body without its content encoding.

    Raises:
        UnreadableSpans: another encoding, broken, or too large when unpacked.
    """
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise UnreadableSpans(f"content encoding {encoding!r} is not supported")
    # 32 + 15: gzip and zlib headers alike.
    unpack = zlib.decompressobj(wbits=47)
    try:
        plain = unpack.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise UnreadableSpans(f"broken {encoding} body: {error}") from error
    if unpack.unconsumed_tail:
        raise UnreadableSpans(f"the unpacked body is above {MAX_BODY_BYTES} bytes")
    if not unpack.eof:
        raise UnreadableSpans(f"the {encoding} body is cut short")
    return plain

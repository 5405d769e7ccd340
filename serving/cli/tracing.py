"""Follows one call through the stack: sends a sampled trace context and collects the spans.

If nothing listens at the configured OTLP endpoint on this machine, the command does so itself for
the time of the call; else the spans go to the collector that is there, and their id is printed.
"""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context

from serving.errors import InvalidRequest
from serving.settings import TelemetrySettings
from serving.telemetry.otlp import SpanRecord
from serving.telemetry.receiver import SpanReceiver
from serving.telemetry.setup import configure_tracing, flush_tracing, shutdown_tracing
from serving.telemetry.spans import TRACEPARENT, call_span, outgoing_metadata
from serving.telemetry.tree import SpanNode, build_tree, is_complete

ROLE = "client"
# Beside the export delay of every process on the way.
ARRIVAL_S = 8.0
LOOPBACK = ("127.0.0.1", "localhost")
_EXPORTER_LOG = logging.getLogger("opentelemetry.exporter")


class _ExportTrouble(logging.Handler):
    """Keeps what the exporter has to say, which would otherwise spread over the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class CallTrace:
    """The trace of one call; open it around the call, then `collect`."""

    def __init__(self, settings: TelemetrySettings) -> None:
        """Starts to listen, if nobody does.

        Raises:
            InvalidRequest: tracing is switched off in the settings.
        """
        if not settings.enabled:
            raise InvalidRequest("--trace", "telemetry.enabled is false in the settings")
        self.trace_id = ""
        self.note = ""
        self._settings = settings
        self._receiver = self._listen()
        self._trouble = _ExportTrouble()
        configure_tracing(settings, ROLE)

    def _listen(self) -> SpanReceiver | None:
        url = urlsplit(self._settings.otlp_endpoint)
        if url.scheme != "http" or url.hostname not in LOOPBACK or url.port is None:
            self.note = f"spans go to {self._settings.otlp_endpoint}: look up the trace there"
            return None
        try:
            return SpanReceiver(url.hostname, url.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self.note = (
                f"another collector listens at {self._settings.otlp_endpoint}: "
                "look up the trace there"
            )
            return None

    def __enter__(self) -> Self:
        _EXPORTER_LOG.addHandler(self._trouble)
        _EXPORTER_LOG.propagate = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutdown_tracing()
        _EXPORTER_LOG.removeHandler(self._trouble)
        _EXPORTER_LOG.propagate = True
        if self._receiver is not None:
            self._receiver.close()

    @contextmanager
    def call(self, service: str, method: str) -> Iterator[str]:
        """The span of the call, root of the trace; yields the `traceparent` to send."""
        with call_span(service, method, Context()) as context:
            span_context = trace.get_current_span(context).get_span_context()
            self.trace_id = trace.format_trace_id(span_context.trace_id)
            yield dict(outgoing_metadata(context))[TRACEPARENT]

    def collect(self) -> list[SpanRecord]:
        """The spans of the call, once all have arrived; `note` says if some seem to be missing."""
        flush_tracing()
        if self._receiver is None:
            if self._trouble.last:
                self.note += f", without this command's own span ({self._trouble.last})"
            return []
        timeout_s = ARRIVAL_S + 2.0 * self._settings.export_delay_ms / 1000.0
        spans = self._receiver.wait_for(self.trace_id, is_complete, timeout_s)
        if not is_complete(spans):
            self.note = f"some spans did not arrive within {timeout_s:g} s"
        return spans


def span_document(spans: list[SpanRecord]) -> list[dict[str, Any]]:
    """The tree of spans as JSON-compatible data, times in milliseconds from the first one."""
    began_ns = min((span.start_ns for span in spans), default=0)
    return [_node_document(root, began_ns) for root in build_tree(spans)]


def _node_document(node: SpanNode, began_ns: int) -> dict[str, Any]:
    span = node.span
    return {
        "span_id": node.span_id,
        "arrived": span is not None,
        "name": span.name if span else "",
        "service": span.service if span else "",
        "kind": span.kind if span else "",
        "offset_ms": (node.start_ns - began_ns) / 1e6,
        "duration_ms": (span.end_ns - span.start_ns) / 1e6 if span else None,
        "failed": span.failed if span else False,
        "attributes": span.attributes if span else {},
        "children": [_node_document(child, began_ns) for child in node.children],
    }

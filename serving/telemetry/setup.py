"""Starts and stops the tracing of a process: spans go out in batches over OTLP/HTTP (protobuf)."""

import logging
import os
import socket

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.semconv.attributes.service_attributes import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
)

from serving.settings import TelemetrySettings
from serving.telemetry.tracer import Tracing, activate

logger = logging.getLogger(__name__)

INSTRUMENTATION = "cartwright.serving"
# One export may take so long; a collector that hangs must not pile up batches behind it.
EXPORT_TIMEOUT_S = 5.0

_provider: TracerProvider | None = None


def traces_url(otlp_endpoint: str) -> str:
    """The URL that spans are posted to, from the base URL of a collector."""
    return otlp_endpoint.rstrip("/") + "/v1/traces"


def configure_tracing(settings: TelemetrySettings, role: str) -> None:
    """Installs the tracer of this process; a second call changes nothing.

    The ratio of root requests is applied by `server_span`, before any span exists, so the sampler
    itself only has to follow the parent. With `enabled=False` nothing is installed.

    Args:
        settings: endpoint, sampling and export delay.
        role: what this process is, e.g. "agent"; the service's name becomes `cartwright-agent`.
    """
    if not settings.enabled or _provider is not None:
        return
    resource = Resource.create(
        {
            SERVICE_NAMESPACE: settings.service_name,
            SERVICE_NAME: f"{settings.service_name}-{role}",
            SERVICE_INSTANCE_ID: f"{socket.gethostname()}-{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=resource, sampler=ParentBased(root=ALWAYS_ON))
    provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(traces_url(settings.otlp_endpoint), timeout=EXPORT_TIMEOUT_S),
            schedule_delay_millis=settings.export_delay_ms,
        )
    )
    install(provider, sample_ratio=settings.sample_ratio)
    logger.info("tracing to %s as %s-%s", settings.otlp_endpoint, settings.service_name, role)


def install(provider: TracerProvider, *, sample_ratio: float = 0.0) -> None:
    """Makes `provider` the source of this process's spans (also a seam for in-memory exporters)."""
    global _provider
    _provider = provider
    activate(Tracing(tracer=provider.get_tracer(INSTRUMENTATION), sample_ratio=sample_ratio))


def flush_tracing(timeout_s: float = EXPORT_TIMEOUT_S) -> bool:
    """Sends what waits; returns whether all of it went out in time."""
    return _provider is None or _provider.force_flush(int(timeout_s * 1000))


def shutdown_tracing() -> None:
    """Sends what waits and switches tracing off; `configure_tracing` may start it again."""
    global _provider
    activate(None)
    if _provider is not None:
        _provider.shutdown()
        _provider = None

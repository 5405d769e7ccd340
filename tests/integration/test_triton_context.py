"""What goes along with a request to Triton: the remaining time and the trace."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.settings import TelemetrySettings
from serving.telemetry.otlp import SpanRecord
from serving.telemetry.receiver import SpanReceiver
from serving.telemetry.setup import configure_tracing, flush_tracing, shutdown_tracing
from serving.telemetry.tracer import active_tracing
from serving.triton.connection import TritonConnection
from tests.hosted import ONES, Served, context, hosted, raw

pytestmark = [pytest.mark.integration, pytest.mark.untimed, pytest.mark.asyncio]

# Triton loses the context of two or three requests in a hundred (docs/decisions/007-traces.md):
# as many losses in a row would be a defect of ours.
ATTEMPTS = 4


class Recorder(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers like `add` and keeps what came with the request."""

    def __init__(self) -> None:
        self.timeout_us = 0
        self.remaining_s = 0.0
        self.metadata: dict[str, str] = {}

    async def ModelInfer(self, request: Any, call: Any) -> Any:  # noqa: N802 - gRPC's name
        self.timeout_us = request.parameters["timeout"].int64_param
        self.remaining_s = call.time_remaining()
        self.metadata = dict(call.invocation_metadata())
        values = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
        response = service_pb2.ModelInferResponse(model_version="1")
        response.outputs.add(name="y", datatype="FP32").shape.extend(request.inputs[0].shape)
        response.raw_output_contents.append(values.tobytes())
        return response


async def test_the_remaining_time_goes_with_the_request() -> None:
    recorder = Recorder()
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = TritonConnection(f"127.0.0.1:{port}")
    await connection.infer(raw("add", ONES), 1, context(3000.0))
    await connection.close()
    await server.stop(None)
    assert 2_500_000 < recorder.timeout_us <= 3_000_000
    assert 2.4 < recorder.remaining_s <= 3.1
    # Not traced, so nothing is added.
    assert "traceparent" not in recorder.metadata


async def traced_call(served: Served, spans: SpanReceiver) -> list[SpanRecord]:
    """The spans of one call below a span of ours; without Triton's if it lost the context."""
    tracing = active_tracing()
    assert tracing is not None
    root = tracing.tracer.start_span("root", context=Context())
    request = context()
    request.span_context = trace.set_span_in_context(root, Context())
    await served.client.infer("add", {"x": ONES}, request)
    root.end()
    assert await asyncio.to_thread(flush_tracing)
    return await asyncio.to_thread(
        spans.wait_for,
        trace.format_trace_id(root.get_span_context().trace_id),
        lambda seen: "compute" in {span.name for span in seen},
        5.0,
    )


async def test_tritons_spans_hang_below_the_call(tmp_path: Path, spans: SpanReceiver) -> None:
    telemetry = TelemetrySettings(otlp_endpoint=spans.endpoint, export_delay_ms=50)
    configure_tracing(telemetry, "test")
    try:
        async with hosted(tmp_path, ["add"], telemetry) as served:
            for _ in range(ATTEMPTS):
                found = await traced_call(served, spans)
                if "compute" in {span.name for span in found}:
                    break
    finally:
        shutdown_tracing()
    by_id = {span.span_id: span for span in found}
    chain = [span for span in found if span.name == "compute"]
    assert chain, f"none of {ATTEMPTS} calls was traced by Triton"
    while chain[-1].parent_id:
        chain.append(by_id[chain[-1].parent_id])
    assert [span.name for span in chain] == [
        "compute",
        "add.1",
        "InferRequest",
        "inference.GRPCInferenceService/ModelInfer",
        "infer add",
        "root",
    ]
    call = chain[3]
    assert call.attributes["cartwright.model"] == "add"
    assert call.attributes["server.port"] == int(served.connection.url.partition(":")[2])

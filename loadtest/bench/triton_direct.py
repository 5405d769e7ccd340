"""Triton reached directly, with tensors that are ready: what is lost before any of our code."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2

from loadtest.bench.artifacts import MODEL, UnderstandingFiles
from loadtest.bench.children import on_stop, say_serving
from loadtest.bench.workloads import Workload
from serving.models.tokenizer import Tokenizer
from serving.models.version import ModelVersion
from serving.settings import TritonSettings
from serving.triton.host import TritonHost
from serving.triton.records import HostRecord
from serving.triton.served import served_name

NAME = "triton"
# What a server with 64 requests in flight could sort at best.
_WINDOW = 64
_PATH = "/inference.GRPCInferenceService/ModelInfer"


def workload(
    files: UnderstandingFiles, texts: Sequence[str], expected: Mapping[int, int], batch: int
) -> Workload:
    """Batches of `batch` texts of about equal length, sorted among 64 that follow each other."""
    tokenizer = Tokenizer.from_file(files.tokenizer, files.max_length)
    version = ModelVersion(MODEL, int(files.folder.name))
    messages: list[bytes] = []
    wanted: dict[int, dict[int, int]] = {}
    for members in _batches(tokenizer, texts, batch):
        tokens = tokenizer.encode([texts[i] for i in members])
        request = service_pb2.ModelInferRequest(model_name=served_name(version))
        for name, values in tokens.inputs().items():
            tensor = request.inputs.add(name=name, datatype="INT64")
            tensor.shape.extend(values.shape)
            request.raw_input_contents.append(values.tobytes())
        known = {row: expected[i] for row, i in enumerate(members) if i in expected}
        if known:
            wanted[len(messages)] = known
        messages.append(request.SerializeToString())
    return Workload(
        method=f"batch {batch}",
        path=_PATH,
        messages=tuple(messages),
        check="tensors",
        expected=wanted,
        texts=batch,
    )


def _batches(tokenizer: Tokenizer, texts: Sequence[str], size: int) -> list[list[int]]:
    window = 1 if size == 1 else max(size, _WINDOW // size * size)
    lengths = np.array([tokenizer.encode([text]).attention_mask.sum() for text in texts])
    indexes: list[int] = np.lexsort((lengths, np.arange(len(texts)) // window)).tolist()
    return [indexes[at : at + size] for at in range(0, len(indexes) - size + 1, size)]


async def serve(repository: Path, folder: Path) -> None:
    """Serves until it is told to stop."""
    settings = TritonSettings(
        models=(MODEL,),
        model_repository=repository,
        log_folder=folder / "log",
        cache_folder=folder / "cache",
    )
    host = TritonHost(settings, "bench", _publish)
    await host.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_stop(lambda: loop.call_soon_threadsafe(stop.set))
    say_serving(host.record.url)
    await stop.wait()
    await host.stop()


async def _publish(_record: HostRecord) -> None:
    """Nobody follows the host."""

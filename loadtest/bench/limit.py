"""The bare limit: tokenizer and ONNX Runtime in a loop, on the same texts, files and cores.

    Limit ─▶ lane process (1 thread) ┐ side by side
          ─▶ lane process (1 thread) ┘
          ─▶ lane process (2 threads)

A lane does nothing between two measurements, so that they may stay while other things are measured.
No answer is decoded: what the model's outputs mean is already the stack's work.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from loadtest.bench.artifacts import UnderstandingFiles
from loadtest.bench.results import LimitPoint, Order
from serving.models.tokenizer import Tokenizer

BATCHES = (1, 8, 32)
# Lanes need a moment to be told.
_LEAD_S = 0.02
_ANSWER_TIMEOUT_S = 120.0
_WARM_UP_BATCHES = 2
# What a server with 64 requests in flight could sort at best.
_WINDOW = 64
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way of doing the bare work."""

    artifact: str
    batch: int
    order: Order
    sessions: int
    threads: int


def settings(artifacts: Sequence[str], cores: int) -> list[Setting]:
    """Every setting: batch sizes, order, one session on all cores or one a core."""
    return [
        Setting(
            artifact=artifact,
            batch=batch,
            order=order,
            sessions=sessions,
            threads=cores // sessions,
        )
        for artifact in artifacts
        for batch in BATCHES
        # A batch of one has nothing to pad for.
        for order in (get_args(Order) if batch > 1 else ("sorted",))
        for sessions in sorted({1, cores})
    ]


class Limit:
    """The lanes. Made by `bare_limit`."""

    def __init__(self, lanes: dict[int, list[Connection]]) -> None:
        # By threads of a lane's sessions.
        self._lanes = lanes

    def measure(self, setting: Setting, seconds: float, round_number: int) -> LimitPoint:
        """Runs one setting for about `seconds`."""
        lanes = self._lanes[setting.threads][: setting.sessions]
        start_s = time.monotonic() + _LEAD_S
        for number, lane in enumerate(lanes):
            lane.send((setting, seconds, start_s, number))
        texts_per_s = cpu_s = texts = 0.0
        for lane in lanes:
            done, took_s, used_s = _receive(lane)
            texts_per_s += done / took_s
            texts += done
            cpu_s += used_s
        return LimitPoint(
            round=round_number,
            artifact=setting.artifact,
            batch=setting.batch,
            order=setting.order,
            sessions=setting.sessions,
            threads=setting.threads,
            texts_per_s=texts_per_s,
            cpu_ms_per_text=cpu_s * 1000.0 / texts,
        )


@contextmanager
def bare_limit(files: UnderstandingFiles, texts: Sequence[str], cores: int) -> Iterator[Limit]:
    """Starts the lanes for the length of the block."""
    context = multiprocessing.get_context("spawn")
    lanes: dict[int, list[Connection]] = {}
    processes = []
    for threads, count in {cores: 1, 1: cores}.items():
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_lane, args=(theirs, files, tuple(texts), threads), daemon=True
            )
            process.start()
            theirs.close()
            processes.append(process)
            lanes.setdefault(threads, []).append(ours)
    try:
        for connection in [lane for group in lanes.values() for lane in group]:
            _receive(connection)
        yield Limit(lanes)
    finally:
        for connection in [lane for group in lanes.values() for lane in group]:
            connection.close()
        for process in processes:
            process.join()


def best(points: Sequence[LimitPoint], artifact: str) -> LimitPoint:
    """The fastest length-bucketed setting of an artifact.

    Raises:
        ValueError: there is none.
    """
    sorted_ones = [p for p in points if p.artifact == artifact and p.order == "sorted"]
    if not sorted_ones:
        raise ValueError(f"no sorted setting of {artifact!r} was measured")
    return max(sorted_ones, key=lambda point: point.texts_per_s)


def _receive(connection: Connection) -> Any:
    if not connection.poll(_ANSWER_TIMEOUT_S):
        raise TimeoutError(f"a lane of the bare limit said nothing for {_ANSWER_TIMEOUT_S:.0f} s")
    return connection.recv()


# ---- in the lanes' processes -----------------------------------------------------------------


def _lane(
    connection: Connection, files: UnderstandingFiles, texts: tuple[str, ...], threads: int
) -> None:
    tokenizer = Tokenizer.from_file(files.tokenizer, files.max_length)
    sessions = {name: open_session(path, threads) for name, path in files.artifacts.items()}
    lengths = np.array([int(tokenizer.encode([text]).attention_mask.sum()) for text in texts])
    connection.send("ready")
    while True:
        try:
            setting, seconds, start_s, number = connection.recv()
        except EOFError:
            return
        batches = make_batches(lengths, setting.batch, setting.order)
        # Each lane its own part of the texts.
        batches = batches[number :: setting.sessions]
        session = sessions[setting.artifact]
        _run(session, tokenizer, texts, batches[:_WARM_UP_BATCHES])
        time.sleep(max(0.0, start_s - time.monotonic()))
        began_s, used_s = time.perf_counter(), time.process_time()
        done = 0
        while time.perf_counter() - began_s < seconds:
            done += _run(session, tokenizer, texts, [batches[0]])
            batches.append(batches.pop(0))
        took_s = time.perf_counter() - began_s
        connection.send((done, took_s, time.process_time() - used_s))


def open_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def make_batches(lengths: NDArray[np.int64], size: int, order: Order) -> list[NDArray[np.int64]]:
    """Indexes of texts by batch, so that any stretch of batches has all lengths in it.

    Args:
        lengths: int64 [n], tokens of each text.
        size: rows of a batch; the last few texts may be left out.
        order: which texts of about equal length come into one batch.
    """
    window = {"as they come": 1, "sorted by 64": _WINDOW, "sorted": len(lengths)}[order]
    # Sorted by window first, by length within it.
    indexes = np.lexsort((lengths, np.arange(len(lengths)) // window))
    count = len(indexes) // size
    batches = indexes[: count * size].reshape(count, size)
    # Steps of the golden ratio spread evenly over the sorted batches, however few are taken.
    return list(batches[np.argsort(np.arange(count) * _GOLDEN % 1.0, kind="stable")])


def _run(
    session: Any, tokenizer: Tokenizer, texts: tuple[str, ...], batches: list[NDArray[np.int64]]
) -> int:
    for batch in batches:
        tokens = tokenizer.encode([texts[i] for i in batch])
        session.run(None, tokens.inputs())
    return sum(len(batch) for batch in batches)

"""Ready requests, and the closed load that sends them."""

import asyncio
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from model_build.specs import SPECS
from model_build.tune.load import apply_load
from model_build.tune.requests import addressed, make_bodies, read_texts, serialise
from serving.errors import StartupError
from serving.models.repository import PublishedVersion

NO_VERSION = PublishedVersion(Path("nowhere"))


@pytest.mark.parametrize("model", ["candidates", "ranker", "decision"])
def test_requests_carry_the_specs_sample_inputs(model: str) -> None:
    spec = SPECS[model]
    bodies = make_bodies(spec, NO_VERSION, 3, (), np.random.default_rng(1))
    assert bodies == make_bodies(spec, NO_VERSION, 3, (), np.random.default_rng(1))
    assert len(set(bodies)) > 100
    request = service_pb2.ModelInferRequest.FromString(addressed(bodies[0], "trial"))
    assert request.model_name == "trial"
    assert [t.name for t in request.inputs] == list(spec.input_names)
    assert all(t.shape[0] == 3 for t in request.inputs)
    arrays = {
        t.name: np.frombuffer(raw, np.int64 if t.datatype == "INT64" else np.float32).reshape(
            t.shape
        )
        for t, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }
    spec.check(arrays, spec.inputs)
    assert addressed(serialise(spec, arrays), "trial") == addressed(bodies[0], "trial")


def test_texts_come_from_the_shop_or_from_a_file(tmp_path: Path) -> None:
    records = [
        {"kind": "utterance", "text": "where is my order"},
        {"kind": "purchase", "bought": []},
        {"kind": "utterance", "text": "a red chair"},
    ]
    (tmp_path / "held_out.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert read_texts(tmp_path, None) == ["where is my order", "a red chair"]
    own = tmp_path / "own.txt"
    own.write_text("one\n\ntwo\n")
    assert read_texts(tmp_path, own) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"held_out\.jsonl: cannot be read: .*--texts"),
        ("", r"held_out\.jsonl: has no texts"),
        ("not json", r"held_out\.jsonl: not a list of held-out utterances"),
        ('{"kind": "utterance"}', r"held_out\.jsonl: not a list.*'text'"),
        ("[1]", r"held_out\.jsonl: not a list"),
    ],
)
def test_texts_that_cannot_be_used_are_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "held_out.jsonl").write_text(content)
    with pytest.raises(StartupError, match=message):
        read_texts(tmp_path, None)


class Server:
    """Answers in turn; can be told to fail or to hold its answers back."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.most_in_flight = 0
        self.asked: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failing = False

    async def __call__(self, request: bytes) -> bytes:
        self.asked.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.open.wait()
            await asyncio.sleep(0.002)
        finally:
            self.in_flight -= 1
        if self.failing:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "full")
        return b""

    async def snapshot(self) -> int:
        return len(self.asked)


async def test_a_closed_load_keeps_so_many_in_flight() -> None:
    server = Server()
    result = await apply_load(server, [b"a", b"b", b"c"], 5, 0.02, 0.2, server.snapshot)
    assert server.most_in_flight == 5
    assert server.in_flight == 0
    assert server.asked[:6] == [b"a", b"b", b"c", b"a", b"b", b"c"]
    assert result.seconds >= 0.2
    assert not result.errors
    assert min(result.latencies_s) >= 0.002
    # Beside those answered in the counted part, those that were under way at its end.
    assert result.answered <= len(result.latencies_s) <= result.answered + 5
    assert 0 < result.before < result.after <= len(server.asked)


async def test_a_request_that_outlives_the_counted_part_counts_with_its_whole_time() -> None:
    server = Server()
    server.open.clear()
    asyncio.get_running_loop().call_later(0.15, server.open.set)
    result = await apply_load(server, [b"a"], 2, 0.01, 0.05, server.snapshot)
    assert result.answered == 0
    assert len(result.latencies_s) == 2
    assert min(result.latencies_s) >= 0.1


async def test_refused_requests_are_counted_and_not_repeated_without_pause() -> None:
    server = Server()
    server.failing = True
    result = await apply_load(server, [b"a"], 3, 0.0, 0.1, server.snapshot)
    assert set(result.errors) == {"UNAVAILABLE: full"}
    assert result.answered == 0
    assert result.latencies_s == []
    assert len(server.asked) <= 3 * 15

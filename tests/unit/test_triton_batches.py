"""Calls joined and split: what each gets back is what it would have got alone."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.deadline import Deadline
from serving.models.client import ModelOutput
from serving.models.manifest import TensorSpec
from serving.triton.batches import Joining, ModelCall
from tests.tiny_models import manifest

TEXT = manifest(
    "text",
    (
        TensorSpec(name="input_ids", dtype="INT64", dims=(-1,)),
        TensorSpec(name="attention_mask", dtype="INT64", dims=(-1,)),
    ),
    (
        TensorSpec(name="tags", dtype="FP32", dims=(-1, 3)),
        TensorSpec(name="intent", dtype="FP32", dims=(2,)),
    ),
    max_batch_size=64,
)
PLAIN = manifest("plain", max_batch_size=64)


def text_call(joining: Joining, length: int, rows: int = 1, at_s: float = 1.0) -> ModelCall:
    ids = np.random.default_rng(length + rows).integers(1, 100, (rows, length))
    return call(joining, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, rows, at_s)


def call(joining: Joining, tensors: dict[str, Any], rows: int, at_s: float = 1.0) -> ModelCall:
    future: Any = None
    return ModelCall(
        item=joining.asked(tensors, rows, None),
        rows=rows,
        deadline=Deadline(at_s),
        future=future,
        arrived_s=0.0,
    )


def model(tensors: dict[str, Any]) -> ModelOutput:
    """Per position and per row sums over what the mask marks."""
    ids = tensors["input_ids"] * tensors["attention_mask"]
    tags = np.repeat(ids[:, :, None], 3, axis=2).astype(np.float32)
    sums = ids.sum(axis=1)
    return ModelOutput(
        tensors={"tags": tags, "intent": np.stack([sums, -sums], axis=1).astype(np.float32)},
        version=3,
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3)), min_size=1, max_size=8))
def test_a_padded_batch_answers_as_each_call_alone(shapes: list[tuple[int, int]]) -> None:
    joining = Joining(TEXT, max_padding=64)
    calls = [text_call(joining, length, rows) for length, rows in shapes]
    answers = joining.split(model(joining.join(calls)), calls)
    for one, answer in zip(calls, answers, strict=True):
        alone = model(dict(one.item.tensors))
        assert answer.version == 3
        for name, wanted in alone.tensors.items():
            assert np.array_equal(answer.tensors[name], wanted)


def test_padding_is_masked_and_of_the_inputs_type() -> None:
    joining = Joining(TEXT, max_padding=64)
    calls = [text_call(joining, 2), text_call(joining, 5)]
    joined = joining.join(calls)
    assert joined["attention_mask"].tolist() == [[1, 1, 0, 0, 0], [1] * 5]
    assert joined["input_ids"].dtype == np.int64
    assert joined["input_ids"][0, 2:].tolist() == [0, 0, 0]


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    rows=st.integers(1, 16),
    padding=st.integers(0, 20),
)
def test_those_that_leave_together_are_of_similar_length_and_the_most_urgent_is_among_them(
    lengths: list[int], rows: int, padding: int
) -> None:
    joining = Joining(TEXT, max_padding=padding)
    order = np.random.default_rng(len(lengths)).permutation(len(lengths))
    calls = [
        text_call(joining, length, at_s=float(at))
        for length, at in zip(lengths, order, strict=True)
    ]
    chosen = joining.choose(calls, rows)
    assert min(calls, key=lambda c: c.deadline.at_s) in chosen
    assert len(chosen) <= rows
    chosen_lengths = [c.item.length for c in chosen]
    assert max(chosen_lengths) - min(chosen_lengths) <= padding
    assert len(set(map(id, chosen))) == len(chosen)


def test_without_a_mask_only_equal_shapes_join() -> None:
    joining = Joining(PLAIN, max_padding=64)
    short, long, other = (
        call(joining, {"x": np.full((1, n), float(n), np.float32)}, 1) for n in (2, 5, 2)
    )
    assert set(map(id, joining.choose([short, long, other], 8))) == {id(short), id(other)}
    joined = joining.join([short, other])
    assert joined["x"].shape == (2, 2)


def test_a_call_that_goes_apart_is_nobodys_company() -> None:
    joining = Joining(TEXT, max_padding=64)
    calls = [text_call(joining, 4, at_s=1.0), text_call(joining, 4, at_s=2.0)]
    calls[1].apart = True
    assert joining.choose(calls, 8) == [calls[0]]

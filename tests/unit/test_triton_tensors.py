from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2

from serving.errors import ModelContractViolated
from serving.models.client import Tensors
from serving.models.manifest import DType, TensorSpec
from serving.triton.tensors import NUMPY_DTYPES, TensorContract
from tests.tiny_models import manifest

IDS = TensorSpec(name="ids", dtype="INT64", dims=(-1,))
FLAGS = TensorSpec(name="flags", dtype="BOOL", dims=(3,))
SCORES = TensorSpec(name="scores", dtype="FP32", dims=(-1, 2))
LABEL = TensorSpec(name="label", dtype="INT32", dims=(1,))
CONTRACT = TensorContract(manifest("m", (IDS, FLAGS), (SCORES, LABEL), max_batch_size=4))


def good_inputs(rows: int = 2, length: int = 5) -> dict[str, np.ndarray[Any, Any]]:
    return {"ids": np.zeros((rows, length), np.int64), "flags": np.ones((rows, 3), np.bool_)}


def answer(rows: int = 2, length: int = 5) -> Any:
    response = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    for name, dtype, shape in (
        ("scores", "FP32", (rows, length, 2)),
        ("label", "INT32", (rows, 1)),
    ):
        response.outputs.add(name=name, datatype=dtype).shape.extend(shape)
        response.raw_output_contents.append(bytes(4 * int(np.prod(shape))))
    return response


@given(
    dtype=st.sampled_from(sorted(NUMPY_DTYPES)),
    shape=hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    data=st.data(),
    transposed=st.booleans(),
)
def test_what_is_written_reads_back_the_same(
    dtype: DType, shape: tuple[int, ...], data: st.DataObject, transposed: bool
) -> None:
    array = data.draw(hnp.arrays(NUMPY_DTYPES[dtype], shape))
    if transposed:
        # Not contiguous, rows still first.
        array = np.swapaxes(array, 1, -1).copy().swapaxes(1, -1)
    spec = TensorSpec(name="t", dtype=dtype, dims=(-1,) * (len(shape) - 1))
    contract = TensorContract(manifest("m", (spec,), (spec,), max_batch_size=5))
    request = service_pb2.ModelInferRequest()
    assert contract.check_inputs({"t": array}) == shape[0]
    contract.write_inputs({"t": array}, request)
    response = service_pb2.ModelInferResponse()
    sent = request.inputs[0]
    response.outputs.add(name=sent.name, datatype=sent.datatype).shape.extend(sent.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    read = contract.read_outputs(response, shape[0])["t"]
    assert read.dtype == array.dtype
    # Bytes, since NaN differs from itself.
    assert read.tobytes() == array.tobytes()
    assert read.shape == shape


@pytest.mark.parametrize(
    ("change", "wanted", "got"),
    [
        ({"flags": None}, "['flags', 'ids']", "['ids']"),
        ({"more": np.zeros((2, 1))}, "['flags', 'ids']", "['flags', 'ids', 'more']"),
        ({"ids": np.zeros((2, 5), np.int32)}, "INT64[2,?]", "int32[2,5]"),
        ({"ids": np.zeros((2, 5), ">i8")}, "INT64[2,?]", ">i8[2,5]"),
        ({"ids": np.zeros((2, 5, 1), np.int64)}, "INT64[2,?]", "int64[2,5,1]"),
        ({"ids": np.zeros((2, 0), np.int64)}, "INT64[2,?]", "int64[2,0]"),
        ({"ids": np.int64(3)}, "INT64[?,?]", "int64[]"),
        ({"flags": np.ones((2, 4), np.bool_)}, "BOOL[2,3]", "bool[2,4]"),
        ({"flags": np.ones((3, 3), np.bool_)}, "BOOL[2,3]", "bool[3,3]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_inputs_that_differ_are_named(change: dict[str, Any], wanted: str, got: str) -> None:
    inputs = {name: v for name, v in {**good_inputs(), **change}.items() if v is not None}
    with pytest.raises(ModelContractViolated) as caught:
        CONTRACT.check_inputs(inputs)
    assert f"wanted {wanted}, got " in caught.value.message
    # NumPy spells a byte order that is not the machine's by its code.
    assert got.replace(">i8", "") in caught.value.message


@pytest.mark.parametrize("rows", [0, 5])
def test_a_batch_has_one_row_to_the_models_limit(rows: int) -> None:
    with pytest.raises(ModelContractViolated, match=rf"batch: wanted 1 to 4 rows, got {rows} rows"):
        CONTRACT.check_inputs(good_inputs(rows))


def _drop_output(response: Any) -> None:
    del response.outputs[1], response.raw_output_contents[1]


def _drop_buffer(response: Any) -> None:
    del response.raw_output_contents[1]


def _repeat_output(response: Any) -> None:
    response.outputs[1].name = "scores"


def _wrong_dtype(response: Any) -> None:
    response.outputs[1].datatype = "FP32"


def _wrong_rows(response: Any) -> None:
    response.outputs[1].shape[0] = 1


def _wrong_dims(response: Any) -> None:
    response.outputs[0].shape[2] = 3


def _short_buffer(response: Any) -> None:
    response.raw_output_contents[0] = b"1234"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop_output, r"outputs: wanted \['label', 'scores'\], got \['scores'\]"),
        (_drop_buffer, r"outputs: wanted 2 buffers, got 1 buffers"),
        (_repeat_output, r"outputs: wanted \['label', 'scores'\], got \['scores', 'scores'\]"),
        (_wrong_dtype, r"output label: wanted INT32\[2,1\], got FP32\[2,1\]"),
        (_wrong_rows, r"output label: wanted INT32\[2,1\], got INT32\[1,1\]"),
        (_wrong_dims, r"output scores: wanted FP32\[2,\?,2\], got FP32\[2,5,3\]"),
        (_short_buffer, r"output scores: wanted 80 bytes, got 4 bytes"),
    ],
)
def test_answers_that_differ_are_named(spoil: Any, message: str) -> None:
    response = answer()
    assert set(CONTRACT.read_outputs(response, 2)) == {"scores", "label"}
    spoil(response)
    with pytest.raises(ModelContractViolated, match=message):
        CONTRACT.read_outputs(response, 2)


def test_outputs_may_come_in_any_order() -> None:
    response = answer()
    response.raw_output_contents[1] = np.array([7, 8], "<i4").tobytes()
    first, second = response.outputs[1], response.outputs[0]
    swapped = service_pb2.ModelInferResponse(outputs=[first, second])
    swapped.raw_output_contents.extend(reversed(response.raw_output_contents))
    assert CONTRACT.read_outputs(swapped, 2)["label"].tolist() == [[7], [8]]


def test_mapping_is_all_that_is_asked_of_inputs() -> None:
    inputs: Tensors = good_inputs()
    assert CONTRACT.check_inputs(inputs) == 2

"""Requests and answers of the Open Inference Protocol v2."""

import numpy as np
import orjson
import pytest

from flows.core.serving.inference.tensors import (
    MOST_ROWS,
    InferRequest,
    Tensor,
    Wanted,
    encode_answer,
    parse_request,
)
from flows.errors import InvalidRequest


def tensor(**changes: object) -> dict:
    return {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, None]} | changes


def body(*tensors: dict, **more: object) -> bytes:
    return orjson.dumps({"inputs": tensors, **more})


def test_a_request_is_parsed_to_columns_with_nulls_as_missing_values():
    text = tensor(name="t", shape=[2, 1], datatype="BYTES", data=[["a"], ["é"]])
    parsed = parse_request(body(tensor(), text, id="7", outputs=[{"name": "score"}]))
    assert parsed == InferRequest(
        "7", {"x": [1.5, None], "t": ["a", "é"]}, 2, [Wanted("score", False)], False
    )


def test_binary_tensors_follow_the_json_in_their_order_and_nan_is_a_missing_value():
    numbers, text = np.array([1.5, np.nan]).tobytes(), b"\1\0\0\0a\2\0\0\0\xc3\xa9"
    first = tensor(parameters={"binary_data_size": len(numbers)})
    second = tensor(name="t", datatype="BYTES", parameters={"binary_data_size": len(text)})
    head = body(first, second, parameters={"binary_data_output": True})
    parsed = parse_request(head + numbers + text, len(head))
    assert parsed == InferRequest(None, {"x": [1.5, None], "t": ["a", "é"]}, 2, [], True)


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT16", "UINT32", "INT64", "FP32"])
def test_each_datatype_is_read_as_numpy_writes_it(datatype):
    dtype = {"BOOL": "?", "UINT8": "u1", "INT16": "<i2", "UINT32": "<u4", "INT64": "<i8", "FP32": "<f4"}
    data = np.array([1, 0], dtype[datatype]).tobytes()
    head = body(tensor(datatype=datatype, parameters={"binary_data_size": len(data)}))
    assert parse_request(head + data, len(head)).columns == {"x": [1, 0]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"NaN", "the body must be a JSON object"),
        (b"[]", "the body must be a JSON object, got list"),
        (b"{}", '"inputs" must be a list'),
        (body(5), "inputs[0] must be an object"),  # type: ignore[arg-type]
        (body(tensor(datatype="FP16")), "datatype must be one of BOOL"),
        (body(tensor(datatype=["BYTES"])), "datatype must be one of BOOL"),
        (body(tensor(shape=[2, 2])), "shape must be [N] or [N, 1], got [2,2]"),
        (body(tensor(shape=[0], data=[])), "1 to 1,000 rows, got 0"),
        (body(tensor(shape=[MOST_ROWS + 1])), "1 to 1,000 rows, got 1,001"),
        (body(tensor(data=[1.0])), "data must have 2 values by its shape, got 1"),
        (body(tensor(data=["1", None])), 'data must be FP64 or null, got "1"'),
        (body(tensor(data=[True, None])), "data must be FP64 or null, got true"),
        (body(tensor(datatype="UINT8", data=[1, 256])), "data must be UINT8 or null, got 256"),
        (body(tensor(), tensor()), "input 'x' must be given once"),
        (body(tensor(), tensor(name="y", shape=[1], data=[1])), "same number of rows, got [1, 2]"),
        (body(tensor(parameters={"binary_data_size": 16})), "at most the 0 bytes left, got 16"),
        (body(tensor(parameters={"binary_data_size": "1"})), "must be a whole number"),
        (body(tensor(), id=7), '"id" must be a string'),
        (body(tensor(), outputs=[{}]), 'outputs[0] must be an object with a "name"'),
        (body(tensor(), parameters=[1]), '"parameters" must be an object'),
        (body(tensor(), parameters={"binary_data_output": 1}), "must be true or false, got 1"),
    ],
)
def test_a_fault_is_named(content, said):
    with pytest.raises(InvalidRequest) as refused:
        parse_request(content)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("size", "tail", "said"),
    [
        (5, b"\2\0\0\0a", "the last one is cut off"),
        (3, b"\2\0\0", "after its length in 4 bytes"),
        (5, b"\1\0\0\0\xff", "must be texts in UTF-8"),
        (0, b"x", "must use all binary data, got 1 bytes more"),
    ],
)
def test_faulty_binary_texts_are_named(size, tail, said):
    head = body(tensor(datatype="BYTES", shape=[1], data=[], parameters={"binary_data_size": size}))
    if not size:
        head = body(tensor())
    with pytest.raises(InvalidRequest) as refused:
        parse_request(head + tail, len(head))
    assert said in str(refused.value)


def test_an_answer_has_the_outputs_that_were_asked_for_and_binary_ones_after_the_json():
    asked = InferRequest(None, {}, 2, [Wanted("label", False), Wanted("score", True)], False)
    answer = encode_answer(
        {"model_name": "m"},
        [Tensor("score", "FP64", [2], [0.5, None]), Tensor("label", "BYTES", [2], ["a", None])],
        asked,
    )
    head = orjson.loads(answer.body[: answer.json_length])
    assert head == {
        "model_name": "m",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["a", None]},
            {"name": "score", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}},
        ],
    }
    assert np.frombuffer(answer.body[answer.json_length :]).tolist() == pytest.approx(
        [0.5, np.nan], nan_ok=True
    )


def test_an_unknown_output_is_refused():
    with pytest.raises(InvalidRequest, match="an output must be one of score, got 'x'"):
        encode_answer(
            {}, [Tensor("score", "FP64", [0], [])], InferRequest(None, {}, 0, [Wanted("x", False)], False)
        )

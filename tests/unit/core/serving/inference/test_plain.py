"""The usual request for an inference, which is parsed at once, as the slower parser reads it."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.serving.inference.plain import MOST_ROWS, plain_columns
from flows.core.serving.inference.tensors import parse_request
from flows.errors import InvalidRequest

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.just([1.0])
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", "é"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["FP64", "FP32", "BYTES", "BOOL", "INT64", "UINT8", "FP16"]),
        "data": st.lists(VALUES, max_size=3),
    },
    optional={"parameters": st.just({}), "more": st.integers()},
)
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2)},
    optional={"id": st.one_of(st.none(), st.text(max_size=2), st.integers()), "outputs": st.just([])},
)


def tensor(**changes: object) -> dict:
    return {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, None]} | changes


def parsed(body: bytes, *length: int) -> object:
    try:
        return parse_request(body, *length)
    except InvalidRequest as fault:
        return str(fault)


@given(BODIES)
def test_any_request_is_read_or_refused_as_by_the_slower_parser(request):
    body = json.dumps(request).encode()  # also whole numbers beyond 64 bits
    assert parsed(body) == parsed(body, len(body))  # with a length it is never a usual one


@pytest.mark.parametrize(
    "number", [b"1", b"1.0", b"-0.0", b"1e3", b"9223372036854775808", b"18446744073709551616", b"1e400"]
)
def test_numbers_have_the_types_that_the_slower_parser_gives_them(number):
    body = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [%s]}]}' % number
    assert repr(parsed(body)) == repr(parsed(body, len(body)))


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor()],
        [tensor(shape=[2, 1]), tensor(name="y", datatype="FP32", data=[1, 2])],
        [tensor(datatype="BYTES", data=["a", None]), tensor(name="y", datatype="BOOL", data=[True, None])],
    ],
)
def test_usual_requests_are_parsed_at_once(inputs):
    assert plain_columns(orjson.dumps({"inputs": inputs, "id": "7"})) is not None


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [tensor(), tensor()],
        [tensor(), tensor(name="y", shape=[1], data=[1.0])],
        [tensor(shape=[1])],
        [tensor(shape=[2, 2])],
        [tensor(shape=[MOST_ROWS + 1], data=[0.0] * (MOST_ROWS + 1))],
        [tensor(datatype="INT64", data=[1, 2])],
        [tensor(parameters={"binary_data_size": 8})],
    ],
)
def test_other_requests_are_left_to_the_slower_parser(inputs):
    assert plain_columns(orjson.dumps({"inputs": inputs})) is None

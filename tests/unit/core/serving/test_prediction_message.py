"""Prediction messages: a written message is read back unchanged."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from answered import encode
from hypothesis import given
from hypothesis import strategies as st

from flows.core.models.model import Prediction
from flows.core.serving import prediction_message as module
from flows.core.serving.prediction_message import PUBLISHED_AT, Asked, decode, decode_batch, decode_served
from flows.core.stream.broker import Outgoing, Record
from flows.errors import InvalidRecord

SERVED = Prediction(
    "UA-1", 1_357_035_300_123, 0.1 + 0.2, "v1", {"v2": 1 / 3}, ["UA", 615, None, 0, -7.25, 1e-300]
)


def in_log(out: Outgoing, offset: int = 0) -> Record:
    return Record(out.topic, out.partition or 0, offset, out.timestamp or 0, out.key, out.value, out.headers)


def test_a_prediction_says_what_was_served_by_which_model_and_on_which_features():
    asked = Asked(["JFK", None], (7, 9), 1_357_035_300_123_001)
    out = encode("p.predictions", 2, SERVED, "abc123", asked, ((PUBLISHED_AT, b"17"),), 41)
    assert (out.topic, out.partition, out.key, out.timestamp) == (
        "p.predictions",
        2,
        b"UA-1",
        1_357_035_300_123,
    )
    assert out.headers == ((PUBLISHED_AT, b"17"),)
    assert orjson.loads(out.value) == {
        "id": "UA-1",
        "time": "2013-01-01T10:15:00.123Z",
        "score": 0.30000000000000004,
        "model": "v1",
        "learned": 41,
        "shadows": {"v2": 1 / 3},
        "plan": "abc123",
        "keys": ["JFK", None],
        "at": [7, 9],
        "moment": 1_357_035_300_123_001,
        "features": ["UA", 615, None, 0, -7.25, 1e-300],
    }


features = (
    st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
predictions = st.builds(
    Prediction,
    id=st.text(min_size=1),
    time=st.integers(0, 4_102_444_799_999),
    score=st.floats(0, 1),
    version=st.text(min_size=1),
    shadows=st.dictionaries(st.text(), st.floats(0, 1)),
    features=st.lists(features),
)


@given(predictions)
def test_what_is_read_is_to_the_last_digit_what_was_served(prediction):
    assert decode(in_log(encode("p", 0, prediction, "plan"))) == prediction


GOOD = orjson.loads(encode("p", 0, SERVED, "plan").value)


UNREAD = ("learned", "plan", "keys", "at", "moment")  # the learner needs none of them


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"not json",
        b"null",
        b"[]",
        *[orjson.dumps({k: v for k, v in GOOD.items() if k != name}) for name in GOOD if name not in UNREAD],
        *[
            orjson.dumps(GOOD | change)
            for change in (
                {"id": 1},
                {"time": "soon"},
                {"score": None},
                {"score": "high"},
                {"shadows": []},
                {"shadows": {"v2": None}},
                {"features": {"a": 1}},
            )
        ],
    ],
)
def test_what_is_no_prediction_is_an_invalid_record(value):
    with pytest.raises(InvalidRecord) as fault:
        decode(Record("p", 0, 0, 0, None, value, ()))
    assert fault.value.reason == "schema"


def test_an_id_as_long_as_a_declaration_may_allow_is_read_back():
    long = SERVED._replace(id="x" * 10_000)
    assert decode(in_log(encode("p", 0, long, "plan"))) == long


def test_the_labels_that_the_model_had_learned_are_read_and_a_prediction_of_0_2_0_has_none():
    out = encode("p", 0, SERVED, "plan", learned=7)
    assert decode_served(in_log(out)).learned == 7
    old = {name: value for name, value in orjson.loads(out.value).items() if name != "learned"}
    assert decode_served(in_log(out._replace(value=orjson.dumps(old)))).learned is None


UNUSUAL = [
    {"other": 1},
    {"score": {"a": 0.5, "b": 1}, "shadows": {"v2": {}}},
    {"score": {"a": True}},
    {"score": True},
    {"score": 2**63},
    {"score": 1e151},
    {"score": -1e150},
    {"shadows": {"v2": {"a": "b"}}},
    {"features": [2**64 - 1, [1], {"a": None}, False]},
    {"time": 1_357_035_300_123},
    {"time": "2013-01-01T11:15:00.123+01:00"},
    {"time": "2013-01-01T10:15:00.123"},
    {"time": "2113-01-01T10:15:00.123Z"},
    {"model": ""},
    {"plan": 1, "keys": {}, "at": "no", "moment": -1},
    {"keys": [1, "a", None], "at": [0], "moment": 2**62},
    {"keys": [1.5]},
    {"keys": [2**63]},
    {"plan": "x" * 257},
    {"moment": 2**62 + 1},
    {"moment": 1.0},
    {"learned": None},
    {"learned": 7},
    {"learned": 7.0},
    {"learned": -1},
    {"learned": "7"},
    {"learned": True},
]
WRITTEN = [orjson.dumps(GOOD | change) for change in UNUSUAL] + [
    b"",
    b"[]",
    orjson.dumps(GOOD) + b" x",
    orjson.dumps(GOOD).replace(b'"v1"', b'"v\xff"'),
    orjson.dumps(GOOD).replace(b':"plan"', b':"pl\xff"'),
    orjson.dumps(GOOD).replace(b'"v1"', b'"\\ud800"'),
    orjson.dumps(GOOD).replace(b"-7.25", b"NaN"),
    orjson.dumps(GOOD).replace(b"-7.25", b"1e400"),
    orjson.dumps(GOOD).replace(b"-7.25", b"1" * 400),
    orjson.dumps(GOOD).replace(b"-7.25", b"-0"),
    orjson.dumps(GOOD).replace(b"{", b'{"id": "another", ', 1),
    orjson.dumps(GOOD).replace(b"-7.25", b"[" * 2000 + b"]" * 2000),
]


@pytest.mark.parametrize("value", WRITTEN)
@pytest.mark.parametrize("read", [decode, decode_served])
def test_the_fast_way_to_read_a_message_accepts_what_the_slow_one_does_and_no_more(read, value, monkeypatch):
    record = Record("p", 0, 0, 0, None, value, ())
    fast = outcome(read, record)
    monkeypatch.setattr(module, "_parse_message", lambda _: int("not a message"))
    assert fast == outcome(read, record)


def outcome(read: Callable[[Record], object], record: Record) -> str:
    try:
        return repr(read(record))
    except InvalidRecord as fault:
        return f"{fault.reason}: {fault}"


def test_a_batch_is_decoded_as_its_records_are_one_by_one():
    valid = {"id": "a", "time": "2013-01-01T10:15:00.000Z", "score": 0.5, "model": "v1", "shadows": {}}
    values = [b'{"id":"a"}', b"no JSON", None, orjson.dumps({**valid, "features": [1, "x"]})]
    records = [Record("predictions", 0, offset, 0, None, value, ()) for offset, value in enumerate(values)]

    def alone(record: Record) -> Any:
        try:
            return decode(record)
        except InvalidRecord as fault:
            return fault

    assert list(map(repr, decode_batch(records))) == [repr(alone(record)) for record in records]
    assert [type(each) for each in decode_batch(records)] == [InvalidRecord] * 3 + [Prediction]

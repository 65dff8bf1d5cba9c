"""Bytes to a checked payload: every kind of bad record, each with its reason."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.broker import Record
from flows.core.deadletter import REASONS
from flows.core.decode import CLOCK_TOLERANCE, Decoded, Decoder
from flows.core.plan import LATENESS
from flows.core.schema import Flag, Number, Text, Time
from flows.errors import InvalidRecord

NOW = 1_357_035_300_000  # 2013-01-01T10:15:00Z, the timestamp of the records here
HOUR = 3_600_000
FIELDS = {"id": Text(), "at": Time(), "delay": Number(-1440, 10_080), "late": Flag(required=False)}
DECODER = Decoder("id", "at", FIELDS)
GOOD = {"id": "UA-1", "at": NOW, "delay": 7.5, "late": True}


def record(value: bytes | None) -> Record:
    return Record("flights", 0, 0, NOW, b"key", value, ())


def decode(**changes: Any) -> Decoded:
    return DECODER.decode(record(orjson.dumps(GOOD | changes)))


def test_a_valid_record_gives_its_id_its_event_time_and_its_payload():
    assert decode() == ("UA-1", NOW, GOOD)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2013-01-01T10:15:00Z", NOW),
        ("2013-01-01T05:15:00-05:00", NOW),
        ("2013-01-01T10:15:00.250+00:00", NOW + 250),
        (NOW, NOW),
    ],
)
def test_an_event_time_is_iso_8601_with_an_offset_or_milliseconds(written, meant):
    assert decode(at=written).time == meant


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" ",
        b"not json",
        b"{",
        b'{"id": "UA-1",}',
        b"{'id': 'UA-1'}",
        b'{"id": "UA-1", "at": 1357035300000, "delay": NaN}',
        b'{"id": "UA-1", "at": 1357035300000, "delay": Infinity}',
        b'{"id": "UA-1", "at": 1357035300000, "delay": -Infinity}',
        b'{"id": "UA-1", "at": 1357035300000, "delay": 0x10}',
        b'{"id": "\x00", "at": 1357035300000, "delay": 1}',
        b"\x00\x00\x00\x00",
        b'{"id": "\xff\xfe"}',
        b'{"id": "\\ud800", "at": 1357035300000, "delay": 1}',
        orjson.dumps(GOOD) + b"\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_refused_as_not_json(value):
    with pytest.raises(InvalidRecord) as fault:
        DECODER.decode(record(value))
    assert fault.value.reason == "not-json"


@pytest.mark.parametrize("value", [b"null", b"1", b'"UA-1"', b"[]", b"true", b'[{"id": "UA-1"}]'])
def test_json_that_is_no_object_is_refused_by_the_schema(value):
    with pytest.raises(InvalidRecord, match="must be a JSON object") as fault:
        DECODER.decode(record(value))
    assert fault.value.reason == "schema"


@pytest.mark.parametrize("name", ["id", "at", "delay"])
def test_a_missing_or_null_field_is_refused_and_named(name):
    for payload in ({k: v for k, v in GOOD.items() if k != name}, GOOD | {name: None}):
        with pytest.raises(InvalidRecord, match=f"field '{name}'") as fault:
            DECODER.decode(record(orjson.dumps(payload)))
        assert fault.value.reason == "schema"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 17),
        ("id", ""),
        ("id", "x" * 257),
        ("id", ["UA-1"]),
        ("id", {"a": 1}),
        ("delay", "7.5"),
        ("delay", True),
        ("delay", [7.5]),
        ("delay", 10_081),
        ("delay", -1e308),
        ("late", 1),
        ("late", "true"),
        ("at", "2013-01-01T10:15:00"),
        ("at", "yesterday"),
        ("at", 1357035300.5),
        ("at", True),
        ("at", ""),
        ("at", -1),
        ("at", 2**64),
        ("at", "1969-01-01T00:00:00Z"),
        ("at", "1969-12-31T23:59:59Z"),
        ("at", "2200-01-01T00:00:00Z"),
        ("at", "0001-01-01T00:00:00+23:59"),
        ("at", "9999-12-31T23:59:59-23:59"),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_refused_and_named(name, value):
    with pytest.raises(InvalidRecord, match=f"field '{name}'") as fault:
        DECODER.decode(record(json.dumps(GOOD | {name: value}).encode()))
    assert fault.value.reason == "schema"


def test_an_event_time_up_to_an_hour_ahead_of_its_record_is_a_clock_that_is_wrong():
    assert CLOCK_TOLERANCE == HOUR < LATENESS
    assert decode(at=NOW + HOUR).time == NOW + HOUR


@pytest.mark.parametrize("at", [NOW + HOUR + 1, "2013-01-01T11:15:00.001Z", "2099-12-31T23:59:59Z"])
def test_an_event_time_further_ahead_of_its_record_is_refused_for_its_time(at):
    with pytest.raises(InvalidRecord, match="'at' is more than an hour ahead") as fault:
        decode(at=at)
    assert fault.value.reason == "time"


def test_an_old_event_is_valid_however_late_it_is_recorded():
    assert decode(at="1970-01-01T00:00:00Z").time == 0


def test_a_field_that_is_not_declared_passes():
    assert decode(more={"nested": [1, None]}).payload["more"] == {"nested": [1, None]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def encoded(payload: Any) -> bytes:
    """JSON as Python writes it, NaN, Infinity and lone surrogates included."""
    return json.dumps(payload).encode()


payloads = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values)).map(encoded)


def outcome(value: bytes) -> tuple[Decoded | None, InvalidRecord | None]:
    try:
        return DECODER.decode(record(value)), None
    except InvalidRecord as fault:
        return None, fault


@given(st.binary() | json_values.map(encoded) | payloads)
def test_no_bytes_whatever_raise_anything_but_invalid_record(value):
    decoded, fault = outcome(value)
    if fault is not None:
        assert fault.reason in REASONS
        assert str(fault)
    else:
        assert 0 < len(decoded.id) <= 256
        assert 0 <= decoded.time <= NOW + HOUR
        assert -1440 <= decoded.payload["delay"] <= 10_080

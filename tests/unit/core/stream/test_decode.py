"""Decoding: every kind of bad record is refused with its reason."""

import json
import pickle
import tracemalloc
from math import inf
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.plan import LATENESS
from flows.core.stream.broker import Record
from flows.core.stream.dead_letter import REASONS
from flows.core.stream.decode import CLOCK_TOLERANCE, LARGEST, Decoded, Decoder
from flows.core.stream.fields import Flag, Key, Number, Text, Time
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
    with pytest.raises(InvalidRecord, match="'at' must be at most an hour ahead") as fault:
        decode(at=at)
    assert fault.value.reason == "time"


def test_an_old_event_is_valid_however_late_it_is_recorded():
    assert decode(at="1970-01-01T00:00:00Z").time == 0


@pytest.mark.parametrize("more", [1, [], {}, [[[1]]], {"a": {"b": 1}}, "x" * 5000], ids=repr)
@pytest.mark.parametrize("optional", [{}, {"late": True}])
@pytest.mark.parametrize("delay", [7, 7.5, -0.0])
def test_only_the_declared_fields_are_kept(more, optional, delay):
    payload = DECODER.decode(
        record(orjson.dumps({"id": "a", "at": NOW, "delay": delay, **optional, "more": more}))
    )
    assert payload.payload == {"id": "a", "at": NOW, "delay": delay, **optional}


def test_also_of_a_record_that_is_checked_field_by_field_only_the_declared_fields_are_kept():
    decoder = Decoder("id", "at", FIELDS | {"delay": Number()})
    value = orjson.dumps(GOOD | {"delay": 2**53 + 1, "more": [1]})
    assert decoder.decode(record(value)).payload == GOOD | {"delay": 2.0**53}


@pytest.mark.parametrize("more", [b'"\xff"', b'"\\ud800"', b'"\n"', b"NaN", b"[", b"01"])
def test_a_field_that_is_not_declared_is_not_kept_but_must_be_json(more):
    with pytest.raises(InvalidRecord) as fault:
        DECODER.decode(record(b'{"more": %b,' % more + orjson.dumps(GOOD)[1:]))
    assert fault.value.reason == "not-json"


def test_a_number_that_no_float_holds_is_refused_in_a_declared_field_only():
    assert DECODER.decode(record(b'{"more": 1e400,' + orjson.dumps(GOOD)[1:])).payload == GOOD
    with pytest.raises(InvalidRecord) as fault:
        DECODER.decode(record(orjson.dumps(GOOD).replace(b"7.5", b"1e400")))
    assert fault.value.reason == "not-json"


def test_a_payload_as_deep_as_json_may_be_can_be_pickled_for_another_process():
    deep = b"[" * 1000 + b"]" * 1000
    with pytest.raises(RecursionError):
        pickle.dumps(orjson.loads(deep))
    pickle.dumps(DECODER.decode(record(b'{"more": %b,' % deep + orjson.dumps(GOOD)[1:])))


def test_a_record_that_is_too_large_is_refused_before_it_is_decoded():
    space = LARGEST - len(orjson.dumps(GOOD))
    assert DECODER.decode(record(orjson.dumps(GOOD) + b" " * space)).id == "UA-1"
    with pytest.raises(InvalidRecord, match="at most 1,048,576 bytes, got 1,048,577") as caught:
        DECODER.decode(record(b"[" * (LARGEST + 1)))
    assert caught.value.reason == "schema"


def test_what_is_not_declared_takes_no_memory():
    explosive = b'{"more": [' + b"{}," * 300_000 + b"{}]," + orjson.dumps(GOOD)[1:]
    tracemalloc.start()
    decoded = [DECODER.decode(record(explosive)) for _ in range(3)]
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < peak < len(explosive) + 1_000_000
    assert [each.payload for each in decoded] == [GOOD] * 3


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


def detail(value: bytes | None, headers: tuple = ()) -> str:
    with pytest.raises(InvalidRecord) as fault:
        DECODER.decode(record(value)._replace(headers=headers))
    return str(fault.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "the value is null (a tombstone)"),
        (b"", "the value is empty"),
        (b"\0\0\0\1\x02" + orjson.dumps(GOOD), "framed for a schema registry (schema id 258, JSON)"),
        (b"\0\0\0\0\x11\x08UA-1\x02", "framed for a schema registry (schema id 17, Avro or Protobuf)"),
        (b"\0\0\0\0", "unexpected"),
        (b"UA-1,7.5", "unexpected"),
    ],
    ids=str,
)
def test_a_value_of_another_format_is_named(value, says):
    assert says in detail(value)


def test_a_format_that_only_the_headers_tell_is_named():
    said = detail(b"\x08UA-1", (("__value_schema_id", b"\1" + bytes(16)),))
    assert "has the headers of a schema registry" in said


@pytest.mark.parametrize("value", [{"before": None, "after": GOOD, "op": "c"}, {"before": GOOD, "op": "d"}])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"schema": {"type": "struct"}, "payload": v}])
def test_a_change_event_is_named_with_what_to_do(value, wrap):
    said = detail(orjson.dumps(wrap(value)))
    assert said.startswith("field 'id' is missing; it is a change event of Debezium (op")
    assert "ExtractNewRecordState" in said


def test_a_record_that_connect_wrapped_with_its_schema_is_named():
    said = detail(orjson.dumps({"schema": {"type": "struct"}, "payload": GOOD}))
    assert said.endswith(
        "wrapped with its schema by Kafka Connect's JsonConverter: set value.converter.schemas.enable=false"
    )


def test_what_only_looks_like_an_envelope_is_not_named():
    for payload in (
        {"op": "c"},
        {"op": 1, "after": GOOD},
        {"op": "x" * 99, "after": {}},
        {"schema": 1, "payload": 2},
    ):
        assert detail(orjson.dumps(payload)) == "field 'id' is missing"


def test_a_record_without_a_timestamp_is_taken_by_its_event_time():
    for at in (0, NOW, NOW + 100 * HOUR):
        value = orjson.dumps(GOOD | {"at": at})
        assert DECODER.decode(record(value)._replace(timestamp=-1)).time == at


@given(st.integers(-(2**63), 2**64 - 1) | st.floats(-1e308, 1e308))
def test_a_number_is_a_float_of_64_bits(number):
    fields = {
        "id": Text(),
        "at": Time(),
        "n": Number(-1e308, 1e308),
        "m": Number(-1e308, 1e308, required=False),
    }
    decoder = Decoder("id", "at", fields)
    payload = decoder.decode(record(orjson.dumps({"id": "1", "at": NOW, "n": number}))).payload
    assert payload["n"] == float(number)
    assert payload["n"] == number or abs(number) > 2**53
    assert type(payload["n"]) is float or abs(number) <= 2**53


def test_a_number_is_checked_before_it_is_rounded():
    decoder = Decoder("id", "at", FIELDS | {"delay": Number(0, 2**53 + 2)})
    assert decoder.decode(record(orjson.dumps(GOOD | {"delay": 2**53 + 1}))).payload["delay"] == 2.0**53
    with pytest.raises(InvalidRecord, match="must be between"):
        decoder.decode(record(orjson.dumps(GOOD | {"delay": 2**53 + 3})))


# fields and values that meet at every limit of a declaration
NAMES = ["a", "b", "it's", 'a "name"']
fields = st.one_of(
    st.builds(Text, required=st.booleans(), longest=st.integers(1, 4)),
    st.builds(
        Number,
        low=st.sampled_from([-inf, -1e150, -9, 0, 0.25]),
        high=st.sampled_from([0.75, 1, 9.5, 2**53 + 3, 10**30, 1e150, inf]),
        required=st.booleans(),
    ),
    st.builds(Flag, required=st.booleans()),
    st.builds(Flag, required=st.booleans(), true=st.just(1), false=st.sampled_from([0, -1.5])),
    st.builds(Flag, required=st.booleans(), true=st.just(False), false=st.just(True)),
    st.builds(Flag, required=st.booleans(), true=st.just("yes"), false=st.just("no")),
    st.builds(Time, required=st.booleans(), unit=st.sampled_from(["s", "ms", "us", "ns"])),
    st.builds(Key, required=st.booleans(), kind=st.sampled_from([None, "text", "integer"])),
)
values = st.one_of(
    json_values,
    st.text(max_size=5),
    st.text("äa\U0001f600", max_size=5),
    st.integers(-10, 10),
    st.floats(-10, 10),
    st.sampled_from(
        ["yes", "no", 2**53 + 1, 2.0**53 + 4, -(2**63), 2**63, 2**64, 1e16, -0.0, -1.5, "x" * 257]
    ),
    st.sampled_from([NOW, NOW // 1000, NOW / 1000, "2013-01-01T12:00:00Z", "2013-01-01T12:00:00.0006Z"]),
)
spellings = st.sampled_from(
    [b"-0", b"1.0", b"1e2", b"1E+2", b"1e400", b"01", b"9007199254740993.0", b"NaN", b'"\\u0041"', b'"\xff"']
)


def spelled(pairs: list[tuple[str, bytes]]) -> bytes:
    """An object as it may be written: in any order, with duplicate keys."""
    return b"{%b}" % b", ".join(json.dumps(name).encode() + b": " + value for name, value in pairs)


@given(
    st.dictionaries(st.sampled_from(NAMES), fields),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.lists(st.tuples(st.sampled_from([*NAMES, "at", "id", "other"]), values.map(encoded) | spellings)),
    st.sampled_from([NOW, NOW // 1000, NOW * 1000, "2013-01-01T12:00:00Z"]),
)
def test_what_msgspec_accepts_is_what_is_valid_field_by_field(fields, unit, more, at):
    decoder = Decoder("id", "at", {"id": Key(), "at": Time(unit=unit), **fields})
    value = spelled([("id", b'"UA-1"'), ("at", encoded(at)), *more])
    fast = decoder._typed(value)
    is_too_large = any(raw == b"1e400" and name not in {"id", "at", *fields} for name, raw in more)
    if fast is not None and not is_too_large:  # which is refused in a declared field only
        assert repr(ordered(fast)) == repr(ordered(decoder._checked(record(value), value)))


def ordered(decoded: Decoded) -> tuple[str, int, list[tuple[str, Any]]]:
    return decoded.id, decoded.time, sorted(decoded.payload.items())


def test_usual_records_are_decoded_by_msgspec_alone():
    full = {"id": Key(), "at": Time(), "text": Text(), "number": Number(), "flag": Flag(true="y", false="n")}
    decoder = Decoder("id", "at", full | {"then": Time(unit="s", required=False)})
    decoder._checked = pytest.fail
    usual = {"id": 7, "at": NOW, "text": "ä", "number": -1.5, "flag": "y"}
    for changes in ({}, {"number": 3}, {"at": "2013-01-01T10:15:00Z"}, {"then": None}, {"then": 17e8}):
        assert decoder.decode(record(orjson.dumps(usual | changes))).payload["flag"] is True


@given(st.lists(payloads | st.builds(lambda i: encoded(GOOD | {"id": i}), st.text(max_size=2)), min_size=1))
def test_a_batch_is_decoded_as_each_of_its_records_is_or_not_at_all(batch):
    records = [record(value) for value in batch]
    decoded = DECODER.decode_batch(records)
    alone = [outcome(value)[0] for value in batch]
    if decoded is None:
        assert None in alone
    else:
        assert list(zip(*decoded, strict=True)) == alone


def test_a_batch_is_not_decoded_with_a_record_that_is_null_large_early_or_without_a_timestamp():
    good = record(orjson.dumps(GOOD))
    others = [
        record(None),
        record(orjson.dumps(GOOD) + b" " * LARGEST),
        good._replace(timestamp=-1),
        good._replace(timestamp=NOW - HOUR - 1),
        record(b'{"more": "\xff",' + orjson.dumps(GOOD)[1:]),
    ]
    assert DECODER.decode_batch([good, good]) is not None
    assert [DECODER.decode_batch([good, other]) for other in others] == [None] * 5

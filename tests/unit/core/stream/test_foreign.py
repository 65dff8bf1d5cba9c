"""Formats of other systems, and the details of their dead letters."""

import pytest

from flows.core.stream.broker import Record
from flows.core.stream.foreign import envelope, not_json

CHANGE = {"before": None, "after": {"id": "1"}, "op": "c"}


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return Record("flights", 0, 0, 0, None, value, headers)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, "a tombstone"),
        (b"", "is empty"),
        (b"\x00\x00\x00\x00\x07\x02abc", "schema id 7, Avro or Protobuf"),
        (b'\x00\x00\x00\x00\x07 {"id": 1}', "schema id 7, JSON"),
        (b"\x00\x00", "the parser's words"),
        (b"hello", "the parser's words"),
    ],
)
def test_a_value_that_is_not_json_is_named(value, named):
    assert named in not_json(record(value), "the parser's words")


def test_the_headers_of_a_schema_registry_name_its_format():
    found = record(b"\x02abc", ("__value_schema_id", b"\x07"))
    said = not_json(found, "the parser's words")
    assert "schema registry" in said
    assert "headers" in said


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (CHANGE, "Debezium"),
        ({"schema": {}, "payload": CHANGE}, "Debezium"),
        ({"schema": {}, "payload": {"id": 1}}, "JsonConverter"),
    ],
)
def test_a_known_envelope_is_named_with_the_setting_that_removes_it(payload, named):
    assert named in envelope(payload)
    assert "value.converter.schemas.enable=false" in envelope(payload)


@pytest.mark.parametrize(
    "payload",
    [None, [], {"id": 1}, {"schema": "s", "payload": {}}, {"op": "c"}, {**CHANGE, "op": "x" * 9}],
)
def test_json_without_a_known_envelope_is_not_given_a_name(payload):
    assert envelope(payload) == ""

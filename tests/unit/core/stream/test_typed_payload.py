"""The type of a payload: `test_decode.py` compares all that it accepts with the check of each field."""

from typing import Any

import msgspec
import pytest

from flows.core.stream.fields import Field, Flag, Key, Number, Text, Time
from flows.core.stream.typed_payload import payload_type

NOW = 1_357_035_300_000


def accepts(field: Field, json: str) -> Any:
    try:
        return msgspec.json.decode(f'{{"x": {json}}}', type=payload_type({"x": field}))["x"]
    except msgspec.ValidationError:
        return "refused"


@pytest.mark.parametrize(
    ("field", "json", "value"),
    [
        (Text(longest=2), '"äö"', "äö"),
        (Text(longest=2), '"abc"', "refused"),
        (Text(), '""', "refused"),
        (Key(), "7", 7),
        (Key(), '"7"', "7"),
        (Key(kind="integer"), '"7"', "refused"),
        (Key(kind="text"), "7", "refused"),
        (Number(), "true", "refused"),
        (Number(), "9007199254740993", "refused"),
        (Number(0.25, 0.75), "0", "refused"),
        (Number(0.25, 0.75), "0.5", 0.5),
        (Flag(), "true", True),
        (Flag(), "1", "refused"),
        (Flag(true="yes", false="no"), '"no"', "no"),
        (Time(), str(NOW), NOW),
        (Time(), str(NOW // 1000), "refused"),
        (Time(unit="s"), str(NOW // 1000), NOW // 1000),
    ],
)
def test_a_value_is_read_as_declared_or_refused(field, json, value):
    assert accepts(field, json) == value


def test_whole_numbers_stay_integers_and_others_floats():
    assert [type(accepts(Number(), json)) for json in ("3", "3.0", "3e0")] == [int, float, float]


def test_null_is_a_value_of_optional_fields_only():
    assert accepts(Number(required=False), "null") is None
    assert accepts(Number(), "null") == "refused"


def test_a_payload_has_its_required_fields_and_no_others():
    kind = payload_type({"id": Text(), "note": Text(required=False)})
    assert msgspec.json.decode(b'{"id": "a", "more": 1}', type=kind) == {"id": "a"}
    with pytest.raises(msgspec.ValidationError, match="missing required field `id`"):
        msgspec.json.decode(b'{"note": "a"}', type=kind)

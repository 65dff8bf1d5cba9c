import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.stream.checker import check, normalized
from flows.core.stream.fields import Field, Flag, Key, Number, Text, Time
from flows.core.stream.times import iso, milliseconds
from flows.errors import InvalidRecord

NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z

GOOD: list[tuple[Field, Any]] = [
    (Text(), "a"),
    (Text(longest=3), "äöü"),
    (Number(), 0),
    (Number(), -1.5),
    (Number(low=1, high=2), 1),
    (Number(low=1, high=2), 2.0),
    (Flag(), True),
    (Flag(), False),
    (Time(), "2013-01-01T12:00:00Z"),
    (Time(), "2013-01-01T07:00:00-05:00"),
    (Time(), "2013-01-01T12:00:00.123456+00:00"),
    (Time(), NOON),
    (Time(), float(NOON)),
    (Time(), 0),
    (Time(), 48 * 86_400_000),
    (Time(), "1970-01-20T00:00:00Z"),
    (Key(), "a"),
    (Key(), 0),
    (Key(), -(2**63)),
    (Key(kind="text"), "1"),
    (Key(kind="integer"), 1),
    (Flag(true=1, false=0), 1),
    (Flag(true=1, false=0), 0.0),
    (Flag(true="yes", false="no"), "no"),
    (Flag(true=False, false=True), True),
    (Time(unit="s"), NOON // 1000),
    (Time(unit="s"), NOON / 1000 + 0.25),
    (Time(unit="s"), "2013-01-01T12:00:00Z"),
    (Time(unit="us"), NOON * 1000),
    (Time(unit="ns"), NOON * 10**6),
]

BAD: list[tuple[Field, Any, str]] = [
    (Text(), "", "1 to 256 characters"),
    (Text(longest=3), "abcd", "1 to 3 characters"),
    (Text(), 7, "a string, got a number"),
    (Text(), ["a"], "a string, got an array"),
    (Number(), "7", "a number, got a string"),
    (Number(), True, "a number, got a boolean"),
    (Number(), {"value": 7}, "a number, got an object"),
    (Number(), math.nan, "must be between"),
    (Number(), math.inf, "must be between"),
    (Number(), -math.inf, "must be between"),
    (Number(), 10**400, "must be between"),
    (Number(low=1, high=2), 0.999, "between 1 and 2"),
    (Number(low=1, high=2), 3, "between 1 and 2"),
    (Flag(), 1, "true or false, got a number"),
    (Flag(), "true", "true or false, got a string"),
    (Time(), "yesterday", "ISO 8601"),
    (Time(), "2013-01-01T12:00:00", "offset from UTC"),
    (Time(), "2013-01-01", "offset from UTC"),
    (Time(), "2013-02-30T12:00:00Z", "ISO 8601"),
    (Time(), "1969-12-31T23:59:59Z", "between the years"),
    (Time(), "2100-01-01T00:00:00Z", "between the years"),
    (Time(), -1, "between the years"),
    (Time(), 10**400, "between the years"),
    (Time(), True, "a time, got a boolean"),
    (
        Time(),
        NOON / 1000,
        r"^field 'x' must be a time in ms, got 1357041600.0, which would be 1970-01-16; it lo",
    ),
    (Time(), NOON // 1000, r"it looks like seconds: declare Time\(unit='s'\)"),
    (Time(), NOON * 1000, r"got 1357041600000000; it looks like microseconds: declare Time\(unit='us'\)"),
    (Time(), math.inf, "a time in ms between the years"),
    (Time(), math.nan, "a time in ms between the years"),
    (Time(unit="s"), NOON, r"a time in s between .*looks like milliseconds: declare Time\(unit='ms'\)"),
    (Time(unit="us"), NOON, r"would be 1970-01-16; it looks like milliseconds"),
    (Time(unit="ns"), NOON * 1000, r"would be 1970-01-16; it looks like microseconds"),
    (Time(unit="us"), NOON // 1000, r"would be 1970-01-01; it looks like seconds"),
    (Time(unit="s"), True, "a time, got a boolean"),
    (Key(), "", "1 to 256 characters"),
    (Key(), "a" * 257, "1 to 256 characters"),
    (Key(), 2**63, "a 64-bit integer"),
    (Key(), 1.0, "a string or an integer, got a number"),
    (Key(), True, "a string or an integer, got a boolean"),
    (Key(kind="integer"), "1", "an integer, as the key is declared, got '1'"),
    (Key(kind="integer"), 1.0, "an integer, as the key is declared, got 1.0"),
    (Key(kind="text"), 1, "a string, as the key is declared, got 1"),
    (Flag(true=1, false=0), 2, "must be 1 or 0, as declared, got 2"),
    (Flag(true=1, false=0), True, "must be 1 or 0, as declared, got True"),
    (Flag(true=1, false=0), [1], r"must be 1 or 0, as declared, got \[1\]"),
    (Flag(true="yes", false="no"), "Yes", "must be 'yes' or 'no', as declared, got 'Yes'"),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_a_value_as_declared_has_no_fault(field: Field, value: Any) -> None:
    check({"x": value}, {"x": field})


@pytest.mark.parametrize(("field", "value", "reason"), BAD)
def test_any_other_value_is_refused_with_the_reason(field: Field, value: Any, reason: str) -> None:
    with pytest.raises(InvalidRecord, match=reason) as caught:
        check({"x": value}, {"x": field})
    assert caught.value.reason == "schema"
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize("kind", [Text, Key, Number, Flag, Time])
@pytest.mark.parametrize("payload", [{}, {"x": None}], ids=["missing", "null"])
def test_only_a_required_field_must_be_there(kind: type[Field], payload: dict[str, None]) -> None:
    check(payload, {"x": kind(required=False)})
    with pytest.raises(InvalidRecord, match="field 'x' is missing"):
        check(payload, {"x": kind()})


@pytest.mark.parametrize("payload", [None, 7, "text", [{"x": "a"}], True])
def test_a_record_that_is_no_object_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidRecord, match="must be a JSON object"):
        check(payload, {"x": Text()})


def test_fields_that_are_not_declared_pass_unread() -> None:
    check({"x": "a", "y": math.nan}, {"x": Text()})


@given(st.integers(0, 4_102_444_799_999))
def test_a_time_survives_being_written_and_read(time: int) -> None:
    assert milliseconds(iso(time)) == milliseconds(time) == time


@pytest.mark.parametrize(
    ("field", "value", "uniform"),
    [
        (Time(), "2013-01-01T12:00:00.0006Z", NOON + 1),
        (Time(), NOON, NOON),
        (Time(), NOON + 0.4, NOON),
        (Time(unit="s"), NOON // 1000, NOON),
        (Time(unit="s"), NOON / 1000 + 0.2504, NOON + 250),
        (Time(unit="us"), NOON * 1000 + 499, NOON),
        (Time(unit="us"), NOON * 1000 + 500, NOON + 1),
        (Time(unit="ns"), NOON * 10**6 + 999_999, NOON + 1),
        (Flag(true=1, false=0), 1, True),
        (Flag(true=1, false=0), 0.0, False),
        (Flag(true=False, false=True), True, False),
        (Flag(true="Y", false="N"), "N", False),
        (Time(required=False), None, None),
        (Flag(required=False, true=1, false=0), None, None),
        (Key(), 7, 7),
        (Key(), "7", "7"),
    ],
)
def test_times_become_milliseconds_and_mapped_flags_true_or_false(field, value, uniform):
    payload = normalized({"x": value}, {"x": field})
    assert payload == {"x": uniform}
    assert type(payload["x"]) is type(uniform)


def test_a_field_that_is_missing_is_not_added_and_one_that_is_not_declared_is_dropped():
    fields = {"at": Time(required=False), "late": Flag(required=False, true=1, false=0)}
    assert normalized({"more": "of it"}, fields) == {}


@given(st.integers(49 * 86_400_000, 4_102_444_799_999), st.sampled_from(["ms", "us", "ns"]))
def test_a_time_is_the_same_in_every_unit(time, unit):
    assert Time(unit=unit).read(time * {"ms": 1, "us": 1000, "ns": 10**6}[unit]) == time


def test_a_number_beyond_2_53_becomes_the_nearest_float():
    assert repr(normalized({"n": 2**53 + 1, "m": 2**53}, {"n": Number(), "m": Number()})) == repr(
        {"n": 2.0**53, "m": 2**53}
    )

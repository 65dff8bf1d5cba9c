import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.schema import Checker, Field, Flag, Number, Text, Time, check, iso, milliseconds
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
]

BAD: list[tuple[Field, Any, str]] = [
    (Text(), "", "1 to 256 characters"),
    (Text(longest=3), "abcd", "1 to 3 characters"),
    (Text(), 7, "a string, not a number"),
    (Text(), ["a"], "a string, not an array"),
    (Number(), "7", "a number, not a string"),
    (Number(), True, "a number, not a boolean"),
    (Number(), {"value": 7}, "a number, not an object"),
    (Number(), math.nan, "must be between"),
    (Number(), math.inf, "must be between"),
    (Number(), -math.inf, "must be between"),
    (Number(), 10**400, "must be between"),
    (Number(low=1, high=2), 0.999, "between 1 and 2"),
    (Number(low=1, high=2), 3, "between 1 and 2"),
    (Flag(), 1, "true or false, not a number"),
    (Flag(), "true", "true or false, not a string"),
    (Time(), "yesterday", "ISO 8601"),
    (Time(), "2013-01-01T12:00:00", "offset from UTC"),
    (Time(), "2013-01-01", "offset from UTC"),
    (Time(), "2013-02-30T12:00:00Z", "ISO 8601"),
    (Time(), "1969-12-31T23:59:59Z", "between the years"),
    (Time(), "2100-01-01T00:00:00Z", "between the years"),
    (Time(), -1, "between the years"),
    (Time(), 10**400, "between the years"),
    (Time(), float(NOON), "a time, not a number"),
    (Time(), True, "a time, not a boolean"),
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


@pytest.mark.parametrize("kind", [Text, Number, Flag, Time])
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner),
)


@given(JSON)
def test_whatever_is_sent_is_either_valid_or_refused_and_never_another_error(payload: Any) -> None:
    fields = {"a": Text(), "b": Number(0, 9), "c": Flag(required=False), "d": Time(required=False)}
    try:
        Checker(fields)(payload)
    except InvalidRecord:
        return
    assert type(payload["a"]) is str
    assert 0 <= payload["b"] <= 9


FIELDS = st.one_of(
    st.builds(Text, required=st.booleans(), longest=st.integers(1, 4)),
    st.builds(Number, low=st.sampled_from([-math.inf, 0]), high=st.integers(1, 9), required=st.booleans()),
    st.builds(Flag, required=st.booleans()),
    st.builds(Time, required=st.booleans()),
)
VALUES = st.one_of(JSON, st.text(max_size=5), st.integers(-10, 10), st.integers(-1, 1))


@given(
    st.dictionaries(st.sampled_from(["a", "b", "it's", 'a "name"']), FIELDS),
    st.one_of(JSON, st.dictionaries(st.sampled_from(["a", "b", "it's", 'a "name"']), VALUES)),
)
def test_what_is_made_of_a_declaration_refuses_what_the_declaration_refuses(
    fields: dict[str, Field], payload: Any
) -> None:
    assert reason(Checker(fields), payload) == reason(lambda given: check(given, fields), payload)


def reason(checks: Callable[[Any], None], payload: Any) -> str | None:
    try:
        checks(payload)
    except InvalidRecord as fault:
        return str(fault)
    return None

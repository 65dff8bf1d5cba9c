"""Times as milliseconds since 1970 and as ISO 8601."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.stream.times import YEAR_2100, in_milliseconds, is_milliseconds, iso, milliseconds


@given(st.integers(0, YEAR_2100 - 1))
def test_a_time_is_what_its_iso_form_is_read_as(time):
    assert milliseconds(iso(time)) == time
    assert milliseconds(time) == time


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("noon", "ISO 8601"),
        ("2013-01-01T12:00:00", "offset from UTC"),
        ("1969-12-31T23:59:59Z", "between the years 1970 and 2100"),
        ("2100-01-01T00:00:00Z", "between the years 1970 and 2100"),
        (-1, "between the years 1970 and 2100"),
        (YEAR_2100, "between the years 1970 and 2100"),
        (1.5, "a number"),
        (True, "a boolean"),
        (None, "null"),
    ],
)
def test_any_other_value_is_refused_with_the_reason(value, reason):
    with pytest.raises(ValueError, match=reason):
        milliseconds(value)
    assert not is_milliseconds(value)


def test_a_duration_is_rounded_to_the_nearest_millisecond():
    assert in_milliseconds(timedelta(seconds=1, microseconds=1_600)) == 1_002

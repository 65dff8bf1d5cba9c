"""Feature rows on their topic: one record per view with new data in a batch."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.batch import Row
from flows.core.features.feature_rows import RowDecoder, decode, encode
from flows.core.features.plan import Aggregate, View
from flows.core.stream.broker import Record
from flows.errors import InvalidRecord

times = st.integers(0, 4_102_444_799_999)
values = st.none() | st.integers(0, 2**53) | st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.builds(Row, st.sampled_from("abc"), st.text(min_size=1), times, st.lists(values, max_size=4))
)


@given(rows)
def test_every_row_is_read_back_as_it_was_and_in_the_order_of_its_view(written):
    out = encode("p.features", written)
    read = [row for o in out for row in decode(Record(o.topic, 0, 0, 0, o.key, o.value, o.headers))]
    assert sorted(read, key=lambda row: row.view) == sorted(written, key=lambda row: row.view)


@given(rows)
def test_there_is_one_record_for_each_view_with_the_time_of_its_newest_row(written):
    out = encode("p.features", written)
    newest = {
        view: max(row.time for row in written if row.view == view) for view in {r.view for r in written}
    }
    assert {o.key.decode(): o.timestamp for o in out} == newest
    assert len(out) == len(newest)
    assert all(o.topic == "p.features" for o in out)


def test_no_rows_are_no_records():
    assert encode("p.features", []) == []


VIEW = View("v", "shop", "tills", (Aggregate("n", "count", "", 1, "int"), Aggregate("m", "mean", "price", 1)))
NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z


def record(value):
    return Record("p.features", 0, 0, NOON, None, value, ())


@given(st.binary())
def test_no_bytes_whatever_raise_anything_but_invalid_record(value):
    with pytest.raises(InvalidRecord):
        decode(record(value))


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"rows": [["a", NOON, []]]},
        {"view": 1, "rows": [["a", NOON, []]]},
        {"view": "v"},
        {"view": "v", "rows": []},
        {"view": "v", "rows": {"a": 1}},
        {"view": "v", "rows": ["a"]},
        {"view": "v", "rows": [["a", NOON]]},
        {"view": "v", "rows": [["a", NOON, [], 1]]},
        {"view": "v", "rows": [[1.5, NOON, []]]},
        {"view": "v", "rows": [[True, NOON, []]]},
        {"view": "v", "rows": [["a", "2013-01-01T12:00:00Z", []]]},
        {"view": "v", "rows": [["a", NOON * 1000, []]]},
        {"view": "v", "rows": [["a", NOON, {}]]},
        {"view": "v", "rows": [["a", NOON, []], None]},
    ],
    ids=str,
)
def test_another_shape_is_invalid(body):
    with pytest.raises(InvalidRecord):
        decode(record(orjson.dumps(body)))


decoder = RowDecoder([VIEW])


def decoded(rows):
    """Return the valid rows of records that the engine could have written, and the faults of the others."""
    valid, faults = [], []
    for out in encode("p.features", rows):
        of_record = decoder.decode(Record(out.topic, 0, 0, 0, out.key, out.value, ()))
        valid += of_record[0]
        faults += of_record[1]
    return valid, faults


def test_rows_of_the_plan_are_checked_and_pass():
    rows = [Row("v", "a", NOON, [3, 1]), Row("v", "b", NOON, [0, None])]
    assert decoded(rows) == (rows, [])


def test_numbers_that_no_float_holds_are_the_nearest_floats():
    values = [[3, 2**53 + 1], [3, 2**64 - 1], [3, True], [2**63 - 1, 1]]
    rows, faults = decoded([Row("v", "a", NOON, each) for each in values])
    assert faults == []
    assert [row.values for row in rows] == [[3, 2.0**53], [3, 2.0**64], [3, 1.0], [2**63 - 1, 1]]
    assert type(rows[0].values[1]) is float


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (Row("w", "a", NOON, [3, 1.0]), "no view 'w'"),
        (Row("v", 7, NOON, [3, 1.0]), "view 'v': key must be a string, got 7"),
        (Row("v", "a", NOON, [3]), "view 'v': must have 2 features, got 1"),
        (Row("v", "a", NOON, [3, "1"]), "view 'v': feature 'm' must be float, got str"),
        (Row("v", "a", NOON, [3.5, 1.0]), "view 'v': feature 'n' must be int, got float"),
        (Row("v", "a", NOON, [2**63, 1.0]), "view 'v': feature 'n' must fit into 64 bits"),
    ],
    ids=str,
)
def test_a_row_that_the_plan_does_not_have_is_left_out_and_no_other(row, says):
    before, after = Row("v", "a", NOON, [3, 1.0]), Row("v", "c", NOON, [4, 2.0])
    rows, (fault,) = decoded([before, row, after])
    assert rows == [before, after]
    assert says in fault


def test_bytes_that_are_not_utf_8_are_refused_in_any_field():
    (out,) = encode("p.features", [Row("v", "a", NOON, [3, 1.0])])
    value = (out.value or b"").replace(b"}", b',"more":"\xff"}')
    with pytest.raises(InvalidRecord, match="not JSON"):
        decoder.decode(Record("p.features", 0, 0, NOON, b"v", value, ()))


any_value = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
any_key = st.text() | st.integers(-(2**63), 2**64 - 1)
any_rows = st.lists(
    st.builds(Row, st.just("v"), any_key, times, st.lists(any_value, min_size=1, max_size=3)), max_size=4
)


@given(any_rows)
def test_rows_are_the_same_whether_they_are_checked_at_once_or_one_by_one(given_rows):
    at_once, one_by_one = decoder, RowDecoder([VIEW])
    one_by_one._decoders = {}
    for out in encode("p.features", given_rows):
        record = Record(out.topic, 0, 0, NOON, out.key, out.value, ())
        assert repr(at_once.decode(record)) == repr(one_by_one.decode(record))

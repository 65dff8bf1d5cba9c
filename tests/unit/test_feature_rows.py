"""Feature rows on their topic: one record for each view that a batch touched."""

from hypothesis import given
from hypothesis import strategies as st

from flows.core.broker import Record
from flows.core.feature_rows import decode, encode
from flows.core.features import Row

times = st.integers(946_684_800_000, 4_102_444_799_999)
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

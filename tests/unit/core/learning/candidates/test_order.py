"""The order of the learned labels: what is written is what is read, in every order of partitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemas import check_all

from flows.core.learning.candidates.cuts import ASSUMED
from flows.core.learning.candidates.order import LearnedOrder, Place, as_runs, places
from flows.core.stream.broker import Record
from flows.errors import InvalidRecord

positions = st.tuples(st.integers(0, 2), st.integers(0, 5), st.just(0), st.just("a"))
assumed = st.tuples(st.just(ASSUMED), st.integers(0, 2**45), st.just(0), st.text(max_size=3))
rows = st.lists(positions | assumed, min_size=1)


def read(value: bytes | None) -> LearnedOrder:
    return LearnedOrder.from_record(Record("p.learned", 0, 0, 0, None, value, ()))


@given(st.integers(0, 2**40), rows)
def test_an_order_is_read_as_it_was_written(first, learned):
    runs, ids = as_runs(learned)
    written = LearnedOrder(first, runs, ids).to_record("p.learned", 7)
    check_all("learned", [written])
    order = read(written.value)
    expected = [Place(row[0], row[1], row[3] if row[0] == ASSUMED else None) for row in learned]
    assert list(places(order)) == expected
    assert (order.first, order.end) == (first, first + len(learned))


def test_labels_of_one_partition_are_one_run():
    runs, _ = as_runs([(1, offset, 0, "a") for offset in range(10, 500)])
    assert runs == [(1, 10, 490)]


def test_an_order_has_an_id_of_its_content():
    ids = {LearnedOrder(5, runs).to_record("t", 0).headers[0][1] for runs in ([(0, 1, 2)], [(0, 2, 2)])}
    assert len(ids) == 2
    assert all(each.startswith(b"5:") for each in ids)


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"{}", b'{"first": 1, "runs": [[1]], "assumed": []}', b'{"first": "x"}']
)
def test_a_record_without_an_order_is_invalid(value):
    with pytest.raises(InvalidRecord, match="it has no order of labels"):
        read(value)

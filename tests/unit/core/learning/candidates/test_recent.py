"""The rows that the learner remembers: a candidate gets each one that it misses, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.label_join import Joined, Label
from flows.core.evaluation.pending_block import Pending
from flows.core.learning.candidates import recent
from flows.core.learning.candidates.cuts import ASSUMED, Cut
from flows.core.learning.candidates.order import places
from flows.core.learning.candidates.recent import KEPT, RecentRows
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record


def joined(number: int, partition: int = 0, time: int | None = None) -> Joined:
    prediction = Prediction(str(number), 0, 0.5, "v1", {}, [number])
    time = number if time is None else time
    record = Record("labels", partition, number, time, None, b"{}", ())
    return Joined(Pending(prediction, 0.5, 0.5), Label(str(number), time, True, record))


def rows(count: int) -> RecentRows:
    kept = RecentRows()
    for number in range(count):
        kept.add(joined(number))
    return kept


def missed(kept: RecentRows, cut: Cut) -> list[int] | None:
    found = kept.missed(cut)
    return None if found is None else [row.offset for row in found]


@given(st.integers(0, 90), st.integers(0, 90))
def test_all_rows_behind_the_cut_are_found_or_none(count: int, end: int):
    expected = list(range(end, count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent, "KEPT", 20)
        patch.setattr(recent, "_SLACK", 7)
        found = missed(rows(count), Cut(0, {0: end}, {}))
    assert found == expected or (found is None and len(expected) > 20)


def test_at_least_the_last_rows_are_kept():
    assert missed(rows(10 * KEPT), Cut(0, {0: 9 * KEPT}, {})) == list(range(9 * KEPT, 10 * KEPT))


def test_a_row_of_a_partition_that_the_training_did_not_know_is_gone_too():
    kept = rows(3 * KEPT)
    assert missed(kept, Cut(0, {1: 5}, {})) is None
    assert missed(kept, Cut(3 * KEPT - 2, {1: 5}, {})) == [3 * KEPT - 2, 3 * KEPT - 1]


def test_default_labels_are_found_by_their_time():
    kept = RecentRows()
    for number in (10, 20, 30):
        kept.add_assumed(joined(number, time=number))
    assert missed(kept, Cut(0, {0: 99, ASSUMED: 20}, {})) == [20, 30]


def test_events_that_are_learned_without_labels_are_found_by_their_prediction():
    kept = RecentRows()
    for offset in range(5):
        kept.add_event(Prediction(str(offset), offset, 0.5, "v1", {}, [1]), 0, offset)
    assert missed(kept, Cut(0, {}, {0: 3}, is_of_labels=False)) == [3, 4]


@given(st.lists(st.integers(0, 60), max_size=8))
def test_the_order_of_all_rows_is_taken_once_also_of_those_that_are_removed(sizes: list[int]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent, "KEPT", 20)
        patch.setattr(recent, "_SLACK", 7)
        kept, taken = RecentRows(), list[int]()
        for size in sizes:
            first = kept.count
            for number in range(first, first + size):
                kept.add(joined(number))
            order = kept.take_order()
            assert (order is None) == (size == 0)
            if order is not None:
                assert order.first == first
                taken += [place.offset for place in places(order)]
    assert taken == list(range(kept.count))

"""The cut of a training: what the learner must have read, and which rows the candidate still misses."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from flows.core.learning.candidates.cuts import ASSUMED, EARLY, Cut, LearnedRow, early_ids

OFFSETS = st.dictionaries(st.integers(0, 3), st.integers(0, 100))


def row(partition: int, offset: int, time: int = 1000, event_id: str = "a") -> LearnedRow:
    return LearnedRow(partition, offset, time, event_id, True, [1.0])


@given(OFFSETS, OFFSETS, st.frozensets(st.text(max_size=5)), st.booleans())
def test_a_cut_is_read_as_it_was_written(labels, predictions, early, is_of_labels):
    cut = Cut(5, labels, predictions, early, is_of_labels)
    assert Cut.from_json(orjson.loads(orjson.dumps(cut.to_json()))) == cut


def test_a_cut_is_reached_when_all_that_it_read_is_read():
    cut = Cut(0, {0: 10, 1: 3}, {0: 7})
    assert cut.is_reached({0: 10, 1: 3}, {0: 7})
    assert cut.is_reached({0: 99, 1: 3, 2: 1}, {0: 8})
    assert not cut.is_reached({0: 10, 1: 2}, {0: 7})
    assert not cut.is_reached({0: 10, 1: 3}, {})


def test_default_labels_have_no_offset_to_reach():
    assert Cut(0, {ASSUMED: 10**12}, {}).is_reached({}, {})


def test_a_row_is_missed_if_its_label_is_behind_the_cut():
    cut = Cut(1000, {0: 10, ASSUMED: 5000}, {0: 99})
    assert [offset for offset in range(8, 13) if cut.misses(row(0, offset))] == [10, 11, 12]
    assert cut.misses(row(1, 0))
    assert [time for time in (4999, 5000) if cut.misses(row(ASSUMED, time, time))] == [5000]


def test_a_label_of_before_the_change_is_not_missed():
    assert not Cut(1000, {0: 10}, {}).misses(row(0, 11, time=999))


def test_a_label_that_had_no_prediction_yet_is_missed():
    assert Cut(0, {0: 10}, {}, early=frozenset({"b"})).misses(row(0, 3, event_id="b"))


def test_rows_without_labels_are_those_of_predictions():
    cut = Cut(0, {}, {0: 10}, is_of_labels=False)
    assert [offset for offset in (9, 10) if cut.misses(row(0, offset))] == [10]


def test_a_cut_names_the_newest_early_labels():
    ids = [str(number) for number in range(EARLY + 2)]
    assert early_ids(ids) == frozenset(ids[2:])

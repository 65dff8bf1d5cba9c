"""Positions of a read-committed consumer: backlog, and records held back by a transaction."""

from flows.core.stream.broker import TopicPartition
from flows.core.stream.positions import Positions

PARTITION = TopicPartition("flights", 0)


def positions(start: int = 0, end: int = 10) -> Positions:
    return Positions({PARTITION: start}, {PARTITION: end})


def test_records_below_the_last_stable_offset_are_backlog():
    assert positions(start=4).has_backlog(PARTITION, high=10)


def test_a_partition_read_to_its_high_watermark_has_no_backlog():
    assert not positions(start=10).has_backlog(PARTITION, high=10)


def test_the_offsets_that_only_control_records_take_are_passed_where_reading_ends():
    here = positions(start=8)
    here.ended(PARTITION, 10)
    assert here.next[PARTITION] == 10
    assert not here.has_backlog(PARTITION, high=10)


def test_the_end_of_reading_never_moves_a_position_back():
    here = positions(start=9)
    here.ended(PARTITION, 5)
    assert here.next[PARTITION] == 9


def test_records_of_an_open_transaction_are_no_backlog_once_a_poll_gave_nothing():
    here = positions(start=10)
    here.ended(PARTITION, 10)
    assert here.has_backlog(PARTITION, high=13), "the records may be on their way"
    here.emptied()
    assert not here.has_backlog(PARTITION, high=13)
    assert here.held_back(PARTITION, high=13) == 3


def test_nothing_is_held_back_where_reading_has_not_ended():
    assert positions(start=4).held_back(PARTITION, high=10) == 0


def test_after_a_seek_the_records_behind_the_old_end_are_backlog_again():
    here = positions(start=10)
    here.ended(PARTITION, 10)
    here.has_backlog(PARTITION, high=13)
    here.emptied()
    here.forget_end(PARTITION)
    assert here.has_backlog(PARTITION, high=13)
    assert here.held_back(PARTITION, high=13) == 0

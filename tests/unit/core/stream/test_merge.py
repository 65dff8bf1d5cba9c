"""The merge by event time, compared with a heap over all partitions."""

from collections import defaultdict
from heapq import heapify, heappop
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.stream.broker import Record, TopicPartition
from flows.core.stream.decode import CLOCK_TOLERANCE, Decoder
from flows.core.stream.fields import Text, Time
from flows.core.stream.merge import EventTimeMerge, clamp_future_timestamps, merged, size_of
from flows.errors import InvalidRecord

SOURCES, EVENTS, LABELS = (TopicPartition(topic, 0) for topic in ("sources", "events", "labels"))
RANKED = [SOURCES, EVENTS, LABELS, TopicPartition("labels", 1)]

Log = dict[TopicPartition, list[Record]]


def log_of(times: dict[TopicPartition, list[int]]) -> Log:
    return {
        partition: [Record(*partition, offset, time, None, b"", ()) for offset, time in enumerate(stamps)]
        for partition, stamps in times.items()
    }


def in_order(log: Log) -> list[Record]:
    """What one heap gives that holds every record under (newest time so far, rank, offset)."""
    heap = [
        (latest, RANKED.index(partition), record.offset, record)
        for partition, records in log.items()
        for latest, record in zip(accumulate((r.timestamp for r in records), max), records, strict=True)
    ]
    heapify(heap)
    return [heappop(heap)[3] for _ in range(len(heap))]


class Reader:
    """Feeds a merge from a log, so that what has not been read yet is the backlog."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.read: dict[TopicPartition, int] = defaultdict(int)
        self.merge = EventTimeMerge([p for p in RANKED if p in log])

    def add(self, partition: TopicPartition, count: int) -> None:
        start = self.read[partition]
        self.merge.add(self.log[partition][start : start + count])
        self.read[partition] = min(start + count, len(self.log[partition]))

    def add_all(self) -> None:
        for partition, records in self.log.items():
            self.add(partition, len(records))

    def has_backlog(self, partition: TopicPartition) -> bool:
        return self.read[partition] < len(self.log[partition])

    def take(self, limit: int = 1000, size: int = 10**9) -> list[Record]:
        return self.merge.take(limit, size, self.has_backlog)


def times(records: list[Record]) -> list[int]:
    return [record.timestamp for record in records]


logs = st.dictionaries(st.sampled_from(RANKED), st.lists(st.integers(-1, 12), max_size=12), min_size=1).map(
    log_of
)
steps = st.lists(st.tuples(st.sampled_from(RANKED), st.integers(1, 5), st.integers(0, 5)), max_size=60)


@given(logs, steps)
def test_however_the_partitions_are_read_the_order_is_that_of_one_heap_over_all(log, steps):
    reader = Reader(log)
    out = []
    for partition, count, limit in steps:
        if partition in log:
            reader.add(partition, count)
        out += reader.take(limit)
    reader.add_all()
    out += reader.take()
    assert out == in_order(log)


@given(logs, steps)
def test_what_waits_is_counted_and_nothing_is_lost_or_repeated(log, steps):
    reader = Reader(log)
    taken = dict.fromkeys(log, 0)
    for partition, count, limit in steps:
        if partition in log:
            reader.add(partition, count)
        for record in reader.take(limit):
            taken[TopicPartition(record.topic, record.partition)] += 1
        for p in log:
            assert reader.merge.buffered(p) == reader.read[p] - taken[p]


@given(logs, steps)
def test_the_next_offset_is_told_of_each_partition_that_records_were_taken_of(log, steps):
    reader = Reader(log)
    for partition, count, limit in steps:
        if partition in log:
            reader.add(partition, count)
        records = reader.take(limit)
        assert reader.merge.taken == {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}
        assert reader.merge.is_empty() == (sum(map(reader.merge.buffered, log)) == 0)


@given(logs, st.integers(1, 4))
def test_with_every_record_buffered_a_limit_only_cuts_the_order_into_batches(log, limit):
    reader = Reader(log)
    reader.add_all()
    batches = []
    while batch := reader.take(limit):
        batches.append(batch)
    assert [r for batch in batches for r in batch] == in_order(log)
    assert all(len(batch) == limit for batch in batches[:-1])


def test_a_partition_with_a_backlog_and_nothing_buffered_is_waited_for():
    reader = Reader(log_of({SOURCES: [5], EVENTS: [1, 2]}))
    reader.add(EVENTS, 2)
    assert reader.take() == []
    reader.add(SOURCES, 1)
    assert times(reader.take()) == [1, 2, 5]


def test_at_the_end_of_the_log_nobody_is_waited_for():
    reader = Reader(log_of({SOURCES: [], EVENTS: [7], LABELS: []}))
    reader.add(EVENTS, 1)
    assert times(reader.take()) == [7]


def test_records_go_as_far_as_no_record_still_in_the_log_can_come_before_them():
    reader = Reader(log_of({SOURCES: [1, 4, 4], EVENTS: [2, 3, 4, 5], LABELS: [4, 6]}))
    reader.add(SOURCES, 2)  # one more at 4 stands in the log
    reader.add(EVENTS, 4)
    reader.add(LABELS, 2)
    assert times(reader.take()) == [1, 2, 3, 4]
    reader.add(SOURCES, 1)
    assert [(r.topic, r.timestamp) for r in reader.take()] == [
        ("sources", 4),
        ("events", 4),
        ("labels", 4),
        ("events", 5),
        ("labels", 6),
    ]


def test_at_equal_times_the_sources_go_before_the_events_that_ask_about_them():
    reader = Reader(log_of({EVENTS: [3, 3], SOURCES: [3, 3]}))
    reader.add_all()
    assert [r.topic for r in reader.take()] == ["sources", "sources", "events", "events"]


def test_an_older_record_follows_the_newer_one_that_stands_before_it_in_its_partition():
    reader = Reader(log_of({EVENTS: [5, 1, 6], SOURCES: [2, 5, 6]}))
    reader.add_all()
    assert [(r.topic, r.timestamp) for r in reader.take()] == [
        ("sources", 2),
        ("sources", 5),
        ("events", 5),
        ("events", 1),
        ("sources", 6),
        ("events", 6),
    ]


def test_a_record_without_a_timestamp_goes_first_and_holds_nobody_up():
    reader = Reader(log_of({EVENTS: [-1, 5], SOURCES: [0, 2]}))
    reader.add(SOURCES, 2)
    assert reader.take() == []
    reader.add(EVENTS, 2)
    assert times(reader.take()) == [-1, 0, 2, 5]


@given(logs)
def test_whole_partitions_are_merged_in_the_same_order(log):
    assert list(merged(log[partition] for partition in RANKED if partition in log)) == in_order(log)


sized = st.lists(st.tuples(st.sampled_from(RANKED), st.integers(0, 20), st.integers(0, 40)), max_size=40)


@given(sized, st.integers(1, 10), st.integers(1, 100))
def test_batches_of_bounded_size_keep_the_order_and_lose_nothing(drawn, limit, size):
    log: Log = defaultdict(list)
    for partition, time, length in drawn:
        log[partition].append(Record(*partition, len(log[partition]), time, None, b"x" * length, ()))
    reader, given_back = Reader(log), list[Record]()
    reader.add_all()
    while batch := reader.take(limit, size):
        assert len(batch) <= limit
        assert len(batch) == 1 or sum(map(size_of, batch)) <= size
        given_back += batch
        for partition, records in log.items():
            left = [r for r in records if r not in given_back]
            assert reader.merge.buffered_bytes(partition) == sum(map(size_of, left))
    assert given_back == in_order(log)


def test_a_records_size_is_that_of_all_that_it_holds():
    assert size_of(Record("t", 0, 0, 0, b"key", b"value", (("a", b"bc"),))) == 3 + 5 + 3
    assert size_of(Record("t", 0, 0, 0, None, None, ())) == 0


def untimed(offset: int, value: bytes) -> Record:
    return Record("events", 0, offset, -1, None, value, ())


def test_a_record_without_a_timestamp_is_merged_by_its_event_time():
    decoders = {"events": Decoder("id", "at", {"id": Text(), "at": Time()})}
    records = [untimed(0, b'{"id":"1","at":5}'), untimed(1, b"junk"), untimed(2, b'{"id":"2","at":9}')]
    assert times(clamp_future_timestamps(records, 1_000, decoders)) == [5, -1, 9]
    assert times(clamp_future_timestamps(records, 1_000)) == [-1, -1, -1]
    merge = EventTimeMerge([SOURCES, EVENTS])
    merge.add(clamp_future_timestamps(records, 1_000, decoders))
    merge.add(log_of({SOURCES: [4, 6, 7]})[SOURCES])
    order = [(r.topic, r.offset) for r in merge.take(9, 10**9, lambda _: False)]
    sources = [("sources", n) for n in range(3)]
    # what has no event time either follows the record before it
    assert order == [sources[0], ("events", 0), ("events", 1), *sources[1:], ("events", 2)]


def test_an_event_time_from_the_future_moves_no_record_without_a_timestamp_there():
    decoders = {"events": Decoder("id", "at", {"id": Text(), "at": Time()})}
    future = untimed(0, b'{"id":"1","at":%d}' % (1_000 + CLOCK_TOLERANCE + 1))
    (timed,) = clamp_future_timestamps([future], 1_000, decoders)
    assert timed.timestamp == 1_000
    with pytest.raises(InvalidRecord, match="at most an hour ahead"):
        decoders["events"].decode(timed)

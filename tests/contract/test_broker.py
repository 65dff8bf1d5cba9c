"""The contract of a broker, on the embedded log and on a real Kafka."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from zlib import crc32

import pytest

from flows.core.stream.broker import Broker, Consumer, Outgoing, Record, TopicPartition, TopicSpec, read_range
from flows.core.stream.dead_letter import dead_letter, read, resent
from flows.errors import OffsetExpired, UnknownTopic
from flows.runtime.broker_url import open_broker

NewTopic = Callable[[int], str]

WRITER = """
import sys
from flows.runtime.broker_url import open_broker
from flows.core.stream.broker import Outgoing
url, topic, name = sys.argv[1:]
producer = open_broker(url, {}).producer()
for batch in range(40):
    producer.send([Outgoing(topic, f"{name} {batch * 50 + i}".encode(), name.encode()) for i in range(50)])
"""


def send(broker: Broker, records: Iterable[Outgoing]) -> dict[TopicPartition, int]:
    producer = broker.producer()
    try:
        return producer.send(list(records))
    finally:
        producer.close()


def take(consumer: Consumer, count: int, limit: int = 1000) -> list[Record]:
    """Poll until `count` records came."""
    records: list[Record] = []
    deadline = time.monotonic() + 20
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
        records += consumer.poll(limit, 0.1)
    return records


def wait_for_end(consumer: Consumer, partition: TopicPartition) -> None:
    deadline = time.monotonic() + 10
    while consumer.has_backlog(partition):
        assert time.monotonic() < deadline, "the backlog does not end"
        assert consumer.poll(1000, 0.05) == []


def numbered(topic: str, count: int, partition: int = 0) -> list[Outgoing]:
    return [Outgoing(topic, b"%d" % i, partition=partition) for i in range(count)]


def test_a_record_comes_back_as_it_was_written(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    headers = (("trace", b"\x00\xff"), ("trace", b"again"), ("empty", b""))
    sent = [
        Outgoing(topic, b'{"a":1}', b"key", 0, 1_356_998_400_000, headers),
        Outgoing(topic, b"", None, 0, 1_356_998_400_001),
    ]
    send(broker, sent)
    consumer = broker.consumer("g", {TopicPartition(topic, 0): 0})
    assert take(consumer, 2) == [
        Record(topic, 0, 0, 1_356_998_400_000, b"key", b'{"a":1}', headers),
        Record(topic, 0, 1, 1_356_998_400_001, None, b"", ()),
    ]
    consumer.close()


def test_null_and_empty_are_kept_apart_in_keys_values_and_headers(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic, both = new_topic(1), (None, b"")
    sent = [
        Outgoing(topic, value, key, 0, 1, (("h", header), ("h", b"1"), ("h", header)))
        for value in both
        for key in both
        for header in both
    ]
    send(broker, sent)
    with closing(broker.consumer("g", {TopicPartition(topic, 0): 0})) as consumer:
        found = [Outgoing(topic, r.value, r.key, 0, 1, r.headers) for r in take(consumer, 8)]
    assert found == sent


def test_a_dead_letter_gives_back_null_and_empty_as_they_were(broker: Broker, new_topic: NewTopic) -> None:
    topic, dead = new_topic(1), new_topic(1)
    sent = [Outgoing(topic, v, v, 0, 1, (("h", v),)) for v in (None, b"", b"\x00\xff")]
    send(broker, sent)
    with closing(broker.consumer("g", {TopicPartition(topic, 0): 0})) as consumer:
        letters = [dead_letter(dead, record, "schema", "") for record in take(consumer, 3)]
    send(broker, letters)
    with closing(broker.consumer("g", {TopicPartition(dead, 0): 0})) as consumer:
        send(broker, [resent(read(record)) for record in take(consumer, 3)])
    with closing(broker.consumer("g", {TopicPartition(topic, 0): 3})) as consumer:
        found = [Outgoing(topic, r.value, r.key, 0, 1, r.headers) for r in take(consumer, 3)]
    assert found == sent


def test_a_position_is_where_the_next_record_is_read(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    send(broker, numbered(partition.topic, 5))
    with closing(broker.consumer("g", {partition: 1})) as consumer:
        assert consumer.position(partition) == 1
        take(consumer, 3, limit=3)
        assert consumer.position(partition) == 4
        take(consumer, 1)
        wait_for_end(consumer, partition)
        assert (consumer.position(partition), consumer.held_back(partition)) == (5, 0)
    assert broker.uncommitted().offsets(partition.topic) == broker.offsets(partition.topic) == [(0, 5)]


def test_a_timestamp_of_the_first_millisecond_of_1970_is_not_the_time_of_writing(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(1)
    send(broker, [Outgoing(topic, b"", timestamp=0)])
    with closing(broker.consumer("g", {TopicPartition(topic, 0): 0})) as consumer:
        [record] = take(consumer, 1)
    assert record.timestamp <= 1


def test_a_record_without_a_timestamp_gets_the_time_of_writing(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    before = time.time_ns() // 1_000_000
    send(broker, [Outgoing(topic, b"")])
    [record] = take(broker.consumer("g", {TopicPartition(topic, 0): 0}), 1)
    assert before <= record.timestamp <= time.time_ns() // 1_000_000


def test_a_record_from_the_far_future_is_taken(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    in_2100 = 4_102_444_800_000
    send(broker, [Outgoing(topic, b"", timestamp=in_2100)])
    [record] = take(broker.consumer("g", {TopicPartition(topic, 0): 0}), 1)
    assert record.timestamp == in_2100


def test_send_tells_the_next_offset_of_each_partition_written(broker: Broker, new_topic: NewTopic) -> None:
    first, second = new_topic(2), new_topic(1)
    producer = broker.producer()
    assert producer.send(numbered(first, 3) + numbered(second, 1)) == {
        TopicPartition(first, 0): 3,
        TopicPartition(second, 0): 1,
    }
    assert producer.send(numbered(first, 5, partition=1) + numbered(first, 2)) == {
        TopicPartition(first, 0): 5,
        TopicPartition(first, 1): 5,
    }
    assert producer.send([]) == {}
    producer.close()


def test_offsets_are_dense_and_records_keep_their_order(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    for _ in range(3):
        send(broker, numbered(topic, 700))
    records = take(broker.consumer("g", {TopicPartition(topic, 0): 0}), 2100, limit=300)
    assert [record.offset for record in records] == list(range(2100))
    assert [record.value for record in records] == [b"%d" % i for i in range(700)] * 3


def test_reading_begins_at_the_offset_that_was_asked_for(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(2)
    send(broker, numbered(topic, 10) + numbered(topic, 10, partition=1))
    consumer = broker.consumer("g", {TopicPartition(topic, 0): 7, TopicPartition(topic, 1): 9})
    assert {(r.partition, r.offset) for r in take(consumer, 4)} == {(0, 7), (0, 8), (0, 9), (1, 9)}
    assert consumer.poll(10, 0.2) == []


def test_a_poll_gives_no_more_than_its_limit(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(3)
    send(broker, [record for p in range(3) for record in numbered(topic, 20, p)])
    consumer = broker.consumer("g", {TopicPartition(topic, p): 0 for p in range(3)})
    sizes, records = [], []
    while len(records) < 60:
        batch = consumer.poll(7, 1.0)
        sizes.append(len(batch))
        records += batch
    assert max(sizes) == 7
    assert Counter(record.partition for record in records) == {0: 20, 1: 20, 2: 20}


def test_the_key_chooses_the_partition_by_its_crc_32(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(5)
    keys = [b"key-%d" % i for i in range(100)]
    send(broker, [Outgoing(topic, b"", key) for key in keys])
    records = take(broker.consumer("g", {TopicPartition(topic, p): 0 for p in range(5)}), 100)
    assert {r.key: r.partition for r in records} == {key: crc32(key) % 5 for key in keys}


def test_a_named_partition_goes_before_the_key(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(4)
    send(broker, [Outgoing(topic, b"", b"one key", partition=p) for p in range(4)])
    records = take(broker.consumer("g", {TopicPartition(topic, p): 0 for p in range(4)}), 4)
    assert sorted(record.partition for record in records) == [0, 1, 2, 3]


def test_poll_waits_as_long_as_it_may(broker: Broker, new_topic: NewTopic) -> None:
    consumer = broker.consumer("g", {TopicPartition(new_topic(1), 0): 0})
    begin = time.monotonic()
    assert consumer.poll(10, 0.3) == []
    assert 0.29 < time.monotonic() - begin < 2.0


def test_poll_returns_as_soon_as_a_record_is_there(
    broker: Broker, broker_url: str, new_topic: NewTopic
) -> None:
    topic = new_topic(1)
    consumer = broker.consumer("g", {TopicPartition(topic, 0): 0})
    assert consumer.poll(1000, 0.1) == []

    def write() -> None:
        other = open_broker(broker_url, {})
        send(other, numbered(topic, 1))
        other.close()

    writer = threading.Thread(target=write)
    begin = time.monotonic()
    writer.start()
    assert len(consumer.poll(1000, 20.0)) == 1
    assert time.monotonic() - begin < 10.0
    writer.join()


def test_a_wait_ends_when_a_record_for_any_of_the_consumers_is_there(
    broker: Broker, new_topic: NewTopic
) -> None:
    topics = [new_topic(1), new_topic(1)]
    consumers = [broker.consumer("g", {TopicPartition(topic, 0): 0}) for topic in topics]
    for consumer in consumers:
        assert consumer.poll(10, 0.2) == []
    producer = broker.producer()
    for number, topic in enumerate(topics):
        producer.send(numbered(topic, 3))
        records: list[Record] = []
        deadline = time.monotonic() + 20
        while len(records) < 3:
            assert time.monotonic() < deadline
            broker.wait(consumers, 30.0)
            records += consumers[number].poll(10, 0.0)
            assert consumers[1 - number].poll(10, 0.0) == []
        assert [record.value for record in records] == [b"0", b"1", b"2"]
    for each in (*consumers, producer):
        each.close()


@pytest.mark.parametrize("count", [1, 2])
def test_a_wait_for_nothing_ends_in_time(broker: Broker, new_topic: NewTopic, count: int) -> None:
    consumers = [broker.consumer("g", {TopicPartition(new_topic(1), 0): 0}) for _ in range(count)]
    for consumer in consumers:
        consumer.poll(10, 0.2)  # the end of the log is news to a client
    begin = time.monotonic()
    broker.wait(consumers, 0.1)
    assert time.monotonic() - begin < 5.0
    for consumer in consumers:
        assert consumer.poll(10, 0.0) == []
        consumer.close()


def test_records_are_acknowledged_after_a_flush_and_the_ends_show_it(
    broker: Broker, new_topic: NewTopic
) -> None:
    first, second = new_topic(2), new_topic(1)
    with closing(broker.producer()) as producer:
        for _ in range(3):
            producer.write(
                [Outgoing(first, b"a"), Outgoing(second, b"b", partition=1), Outgoing(first, b"c")], 0
            )
        assert producer.outstanding() >= 0
        producer.flush()
        assert producer.outstanding() == 0
        assert broker.ends([first, second]) == {
            TopicPartition(first, 0): 6,
            TopicPartition(first, 1): 0,
            TopicPartition(second, 0): 3,
        }
        producer.write([Outgoing(first, b"own", partition=1)])
        assert producer.outstanding(20.0) == 0
        assert broker.ends([first])[TopicPartition(first, 1)] == 1


def test_the_backlog_is_known_before_the_first_poll(broker: Broker, new_topic: NewTopic) -> None:
    full, empty = TopicPartition(new_topic(1), 0), TopicPartition(new_topic(1), 0)
    send(broker, numbered(full.topic, 5))
    consumer = broker.consumer("g", {full: 0, empty: 0})
    assert consumer.has_backlog(full)
    assert not consumer.has_backlog(empty)
    at_end = broker.consumer("g", {full: 5})
    assert not at_end.has_backlog(full)


def test_the_backlog_lasts_until_the_last_record_is_given(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    send(broker, numbered(partition.topic, 10))
    consumer = broker.consumer("g", {partition: 0})
    seen = 0
    while seen < 10:
        assert consumer.has_backlog(partition)
        seen += len(consumer.poll(3, 0.5))
    assert not consumer.has_backlog(partition)
    send(broker, numbered(partition.topic, 4))
    assert len(take(consumer, 3, limit=1)) == 3
    assert consumer.has_backlog(partition)
    take(consumer, 1)
    wait_for_end(consumer, partition)


def test_a_paused_partition_gives_nothing_until_it_is_resumed(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(2)
    paused, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    send(broker, numbered(topic, 500) + numbered(topic, 500, partition=1))
    consumer = broker.consumer("g", {paused: 0, other: 0})
    consumer.pause([paused])
    records = take(consumer, 500, limit=100)
    assert {record.partition for record in records} == {1}
    assert consumer.poll(100, 0.3) == []
    assert consumer.has_backlog(paused)
    consumer.resume([paused])
    assert [record.offset for record in take(consumer, 500)] == list(range(500))


def test_pausing_and_resuming_at_random_loses_and_repeats_nothing(
    broker: Broker, new_topic: NewTopic
) -> None:
    topic = new_topic(3)
    partitions = [TopicPartition(topic, p) for p in range(3)]
    send(broker, [record for p in range(3) for record in numbered(topic, 3000, p)])
    consumer = broker.consumer("g", dict.fromkeys(partitions, 0))
    chance = random.Random(7)
    paused: set[TopicPartition] = set()
    offsets: dict[int, list[int]] = {0: [], 1: [], 2: []}
    deadline = time.monotonic() + 60
    while sum(map(len, offsets.values())) < 9000:
        assert time.monotonic() < deadline
        for record in consumer.poll(chance.randint(1, 200), chance.choice([0.0, 0.01])):
            assert TopicPartition(topic, record.partition) not in paused
            offsets[record.partition].append(record.offset)
        partition = chance.choice(partitions)
        if partition in paused:
            paused.remove(partition)
            consumer.resume([partition])
        elif len(paused) < 2:
            paused.add(partition)
            consumer.pause([partition])
    consumer.resume(partitions)
    assert consumer.poll(1000, 0.3) == []
    assert offsets == {p: list(range(3000)) for p in range(3)}


def test_consumers_do_not_disturb_one_another(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    send(broker, numbered(partition.topic, 50))
    consumers = [broker.consumer(group, {partition: 0}) for group in ("same", "same", "another")]
    for consumer in consumers:
        assert [record.offset for record in take(consumer, 50, limit=20)] == list(range(50))


def test_two_processes_that_write_at_once_lose_nothing(
    broker: Broker, broker_url: str, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, broker_url, topic, name]) for name in "ab"]
    consumer = broker.consumer("g", {TopicPartition(topic, p): 0 for p in range(2)})
    records = take(consumer, 4000)
    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert broker.offsets(topic) == [(0, sum(r.partition == p for r in records)) for p in range(2)]
    for name in (b"a", b"b"):
        assert [r.value for r in records if r.key == name] == [name + b" %d" % i for i in range(2000)]


def test_offsets_are_the_bounds_of_each_partition(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(3)
    send(broker, numbered(topic, 4) + numbered(topic, 2, partition=2))
    assert broker.offsets(topic) == [(0, 4), (0, 0), (0, 2)]


def test_offset_at_finds_the_first_record_of_a_time(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    base = 1_356_998_400_000
    send(broker, [Outgoing(partition.topic, b"", timestamp=base + i * 1000) for i in range(100)])
    assert broker.offset_at(partition, base - 5) == 0
    assert broker.offset_at(partition, base + 30_000) == 30
    assert broker.offset_at(partition, base + 30_001) == 31
    assert broker.offset_at(partition, base + 100_000) == 100


def test_committed_offsets_are_shown_by_group(broker: Broker, new_topic: NewTopic) -> None:
    topic, group = new_topic(2), "group-of-" + new_topic(1)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    send(broker, numbered(topic, 9))
    consumer = broker.consumer(group, {first: 0, second: 0})
    assert broker.committed(group, topic) == {}
    consumer.commit({first: 3})
    consumer.commit({first: 7, second: 0})
    consumer.commit({})
    deadline = time.monotonic() + 20
    while broker.committed(group, topic) != {0: 7, 1: 0}:
        assert time.monotonic() < deadline, broker.committed(group, topic)
        consumer.poll(100, 0.05)
    assert broker.committed("another group", topic) == {}


def test_a_range_is_read_and_no_more(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    send(broker, numbered(partition.topic, 100))
    batches = list(read_range(broker, partition, 20, 70))
    assert [record.offset for batch in batches for record in batch] == list(range(20, 70))
    beyond = list(read_range(broker, partition, 95, 500))
    assert [record.offset for batch in beyond for record in batch] == list(range(95, 100))


def test_only_missing_topics_are_created(broker: Broker, new_topic: NewTopic) -> None:
    old, new = new_topic(2), f"{new_topic(1)}-new"
    assert broker.create_topics([TopicSpec(old, 7), TopicSpec(new, 3)]) == [new]
    assert broker.create_topics([TopicSpec(old, 7), TopicSpec(new, 3)]) == []
    topics = broker.topics()
    assert (topics[old], topics[new]) == (2, 3)


def test_partitions_are_added_behind_those_with_records(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(2)
    send(broker, numbered(topic, 4, partition=1))
    broker.add_partitions(topic, 4)
    assert broker.existing([topic]) == {topic: 4}
    assert send(broker, numbered(topic, 2, partition=3)) == {TopicPartition(topic, 3): 2}
    assert broker.offsets(topic) == [(0, 0), (0, 4), (0, 0), (0, 2)]


def test_a_deleted_topic_is_gone_and_can_be_made_anew(broker: Broker, new_topic: NewTopic) -> None:
    topic, kept = new_topic(2), new_topic(1)
    send(broker, [*numbered(topic, 5), *numbered(kept, 5)])
    broker.delete_topics([topic, "missing"])
    assert topic not in broker.topics()
    with pytest.raises(UnknownTopic):
        broker.consumer("g", {TopicPartition(topic, 0): 0})
    assert broker.create_topics([TopicSpec(topic, 3)]) == [topic]
    assert broker.offsets(topic) == [(0, 0)] * 3
    assert send(broker, numbered(topic, 2)) == {TopicPartition(topic, 0): 2}
    assert broker.offsets(kept) == [(0, 5)]


def test_what_was_written_is_there_for_the_next_process(
    broker: Broker, broker_url: str, new_topic: NewTopic
) -> None:
    topic = new_topic(1)
    send(broker, numbered(topic, 3))
    broker.close()
    again = open_broker(broker_url, {})
    assert again.offsets(topic) == [(0, 3)]
    assert len(take(again.consumer("g", {TopicPartition(topic, 0): 0}), 3)) == 3


@pytest.mark.parametrize("number", [0, 9])
def test_a_missing_topic_or_partition_is_named(broker: Broker, new_topic: NewTopic, number: int) -> None:
    partition = TopicPartition(new_topic(1) if number else "missing", number)
    calls: list[Callable[[], object]] = [
        lambda: broker.consumer("g", {partition: 0}),
        lambda: broker.offset_at(partition, 0),
        lambda: send(broker, [Outgoing(partition.topic, b"", partition=number)]),
    ]
    if not number:
        calls += [lambda: broker.offsets("missing"), lambda: broker.committed("g", "missing")]
        calls += [lambda: broker.existing([new_topic(1), "missing"])]
    for call in calls:
        with pytest.raises(UnknownTopic, match=partition.topic):
            call()


def test_a_batch_with_a_missing_topic_writes_nothing(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    with pytest.raises(UnknownTopic, match="missing"):
        send(broker, [*numbered(topic, 3), Outgoing("missing", b"")])
    assert broker.offsets(topic) == [(0, 0)]


def test_an_offset_that_retention_removed_is_a_loud_error(
    broker: Broker, new_topic: NewTopic, remove_before: Callable[[TopicPartition, int], None]
) -> None:
    partition = TopicPartition(new_topic(2), 1)
    for records in (6, 4):
        send(broker, numbered(partition.topic, records, partition=1))
    remove_before(partition, 6)
    assert broker.offsets(partition.topic) == [(0, 0), (6, 10)]
    consumer = broker.consumer("g", {partition: 2})
    with pytest.raises(OffsetExpired, match=rf"offset 2 of {partition.topic}\[1\].*6 to 10 of it"):
        take(consumer, 1)
    survivor = broker.consumer("g", {partition: 6})
    assert [record.offset for record in take(survivor, 4)] == [6, 7, 8, 9]


def test_an_offset_beyond_the_end_is_a_loud_error(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    send(broker, numbered(partition.topic, 3))
    consumer = broker.consumer("g", {partition: 500})
    with pytest.raises(OffsetExpired, match=r"offset 500 .* 0 to 3"):
        take(consumer, 1)


def test_closing_is_quick_and_final(broker: Broker, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(1), 0)
    consumer, producer = broker.consumer("g", {partition: 0}), broker.producer()
    producer.send(numbered(partition.topic, 1))
    take(consumer, 1)
    consumer.commit({partition: 1})
    begin = time.monotonic()
    consumer.close()
    producer.close()
    assert time.monotonic() - begin < 5.0

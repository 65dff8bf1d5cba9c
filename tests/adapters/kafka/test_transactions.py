"""Transactions of other producers on Kafka: reading ends at the last stable offset and does not block."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from confluent_kafka import Producer as Client
from harness import wait_until

from flows.adapters.bytewax.idle import SHORT, Idle
from flows.adapters.bytewax.sink import TopicSink
from flows.adapters.bytewax.source import MergedSource, SourceSettings
from flows.adapters.kafka.broker import KafkaBroker
from flows.core.stream.broker import Consumer, Outgoing, TopicPartition, TopicSpec, read_range, read_since
from flows.core.stream.drain import Drain
from flows.runtime.telemetry import Telemetry

PATIENCE = 20.0


@pytest.fixture
def broker(kafka: str) -> Iterator[KafkaBroker]:
    with closing(KafkaBroker(kafka, {})) as broker:
        yield broker


@pytest.fixture
def partition(broker: KafkaBroker) -> TopicPartition:
    topic = f"topic-{uuid4().hex}"
    broker.create_topics([TopicSpec(topic)])
    return TopicPartition(topic, 0)


@pytest.fixture(scope="module")
def payer(kafka: str) -> Client:
    """Somebody's transactional producer; it serves one test after the other."""
    options = {"transactional.id": f"payer-{uuid4().hex}", "transaction.timeout.ms": 600_000}
    client = Client({"bootstrap.servers": kafka, **options})
    client.init_transactions(30)
    return client


@pytest.fixture
def open_transaction(payer: Client) -> Iterator[Callable[[TopicPartition, bytes], None]]:
    """Write records in a transaction that stays open until `payer` ends it, or the test ends."""
    payer.begin_transaction()

    def write(partition: TopicPartition, value: bytes) -> None:
        payer.produce(partition.topic, value, partition=partition.partition)
        payer.flush()

    yield write
    payer.abort_transaction(30)


def send(broker: KafkaBroker, partition: TopicPartition, *values: bytes, timestamp: int = 1) -> None:
    with closing(broker.producer()) as producer:
        producer.send([Outgoing(partition.topic, v, partition=0, timestamp=timestamp) for v in values])


def read_to_end(consumer: Consumer, partition: TopicPartition) -> list[bytes | None]:
    values: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE
    while consumer.has_backlog(partition):
        assert time.monotonic() < deadline, "the backlog does not end"
        values += [record.value for record in consumer.poll(100, 0.05)]
    return values


Open = Callable[[TopicPartition, bytes], None]


def test_the_end_of_a_partition_is_its_last_stable_offset(
    broker: KafkaBroker, partition: TopicPartition, open_transaction: Open
) -> None:
    send(broker, partition, b"a", b"b")
    open_transaction(partition, b"open")
    send(broker, partition, b"behind", timestamp=5)
    assert broker.offsets(partition.topic) == [(0, 2)]
    assert broker.uncommitted().offsets(partition.topic) == [(0, 4)]
    assert broker.offset_at(partition, 5) == 2


def test_the_backlog_ends_where_an_open_transaction_begins_however_much_others_write_behind_it(
    broker: KafkaBroker, partition: TopicPartition, open_transaction: Open
) -> None:
    send(broker, partition, b"a", b"b")
    open_transaction(partition, b"open")
    with closing(broker.consumer("g", {partition: 0})) as consumer:
        assert read_to_end(consumer, partition) == [b"a", b"b"]
        for number in range(20):
            send(broker, partition, b"behind %d" % number)
            assert read_to_end(consumer, partition) == []
        wait_until(lambda: bool(consumer.poll(1, 0.01)) or consumer.held_back(partition) == 21)
        assert consumer.position(partition) == 2


def test_what_was_held_back_is_read_when_the_transaction_ends_and_then_nothing_is_left(
    broker: KafkaBroker, partition: TopicPartition, payer: Client, open_transaction: Open
) -> None:
    open_transaction(partition, b"aborted")
    send(broker, partition, b"behind")
    with closing(broker.consumer("g", {partition: 0})) as consumer:
        assert read_to_end(consumer, partition) == []
        payer.abort_transaction(30)
        values: list[bytes | None] = []
        wait_until(lambda: values.extend(r.value for r in consumer.poll(9, 0.01)) or values != [], PATIENCE)
        assert values == [b"behind"]
        payer.begin_transaction()
        open_transaction(partition, b"committed")
        payer.commit_transaction(30)
        wait_until(
            lambda: values.extend(r.value for r in consumer.poll(9, 0.01)) or len(values) > 1, PATIENCE
        )
        assert values == [b"behind", b"committed"]
        assert read_to_end(consumer, partition) == []
        # behind the last record is the marker of the commit
        wait_until(lambda: not consumer.poll(1, 0.01) and consumer.position(partition) == 5)
        assert broker.offsets(partition.topic) == [(0, 5)]
        assert (consumer.has_backlog(partition), consumer.held_back(partition)) == (False, 0)
    payer.begin_transaction()


def test_a_partition_that_holds_nothing_but_an_aborted_transaction_has_no_backlog(
    broker: KafkaBroker, partition: TopicPartition, payer: Client, open_transaction: Open
) -> None:
    open_transaction(partition, b"aborted")
    payer.abort_transaction(30)
    payer.begin_transaction()
    wait_until(lambda: broker.offsets(partition.topic) == [(0, 2)])
    with closing(broker.consumer("g", {partition: 0})) as consumer:
        assert read_to_end(consumer, partition) == []
    assert list(read_range(broker, partition, 0, 2)) == []


def test_a_paused_partition_keeps_its_backlog_while_a_transaction_is_open(
    broker: KafkaBroker, partition: TopicPartition, open_transaction: Open
) -> None:
    open_transaction(partition, b"open")
    with closing(broker.consumer("g", {partition: 0})) as consumer:
        assert read_to_end(consumer, partition) == []
        send(broker, partition, b"behind")
        wait_until(lambda: bool(consumer.poll(1, 0.01)) or consumer.held_back(partition) > 0)
        consumer.pause([partition])
        for _ in range(5):
            assert consumer.poll(10, 0.02) == []
            assert consumer.has_backlog(partition)
        consumer.resume([partition])
        assert read_to_end(consumer, partition) == []


@pytest.mark.parametrize("stop", [2, 3, 99])
def test_a_range_ends_at_the_last_stable_offset(
    broker: KafkaBroker, partition: TopicPartition, open_transaction: Open, stop: int
) -> None:
    send(broker, partition, b"a", b"b")
    open_transaction(partition, b"open")
    send(broker, partition, b"behind")
    assert [r.value for batch in read_range(broker, partition, 0, stop) for r in batch] == [b"a", b"b"]
    assert [r.value for r in read_since(broker, partition.topic, 0)] == [b"a", b"b"]


def slots(kafka: str, topics: list[str], watch: Telemetry) -> MergedSource:
    return MergedSource(
        lambda: KafkaBroker(kafka, {}),
        SourceSettings(f"group-{topics[0]}", topics, batch=100),
        watch,
        Drain(),
        Idle(SHORT),
    )


def test_events_go_on_while_a_transaction_is_open_on_a_source_and_a_wait_that_lasts_is_said(
    broker: KafkaBroker, kafka: str, partition: TopicPartition, open_transaction: Open, caplog
) -> None:
    events = TopicPartition(f"{partition.topic}-events", 0)
    broker.create_topics([TopicSpec(events.topic)])
    open_transaction(partition, b"open")
    source = slots(kafka, [partition.topic, events.topic], Telemetry())
    caplog.set_level(logging.WARNING, "driftline.topics")
    with closing(source.build_part("records", "0", None)) as slot:
        for number in range(10):
            send(broker, events, b"event %d" % number)
            send(broker, partition, b"behind")
            values: list[bytes | None] = []
            wait_until(
                lambda v=values: v.extend(r.value for _, rs in slot.next_batch() for r in rs) or v != []
            )
            assert values == [b"event %d" % number]
        wait_until(lambda: slot.next_batch() == [] and bool(caplog.messages))
    (said,) = caplog.messages
    held = re.match(rf"(\d+) records of topic {partition.topic!r}, partition 0, cannot be read", said)
    assert held
    assert 1 <= int(held[1]) <= 11  # of the 11, those that the consumer knew of
    assert "transaction is open since offset 0" in said


def test_the_lag_behind_the_end_of_a_transaction_is_0_and_a_flow_resumes_there(
    broker: KafkaBroker, kafka: str, partition: TopicPartition, payer: Client, open_transaction: Open
) -> None:
    lags: list[int] = []

    class Lags(Telemetry):
        def lag(self, partition: TopicPartition, records: int) -> None:  # type: ignore[override]
            lags.append(records)

    open_transaction(partition, b"committed")
    payer.commit_transaction(30)
    payer.begin_transaction()
    source = slots(kafka, [partition.topic], Lags())
    with closing(source.build_part("records", "0", None)) as slot:
        assert [r.value for r in until_some(slot)] == [b"committed"]
        wait_until(lambda: list(slot.next_batch()) == [] and lags[-1:] == [0])
        wait_until(
            lambda: (
                list(slot.next_batch()) == []
                and broker.committed(f"group-{partition.topic}", partition.topic) == {0: 2}
            )
        )
        assert slot.snapshot() == {f"{partition.topic}/0": 2}
    with closing(source.build_part("records", "0", {f"{partition.topic}/0": 2})) as slot:
        send(broker, partition, b"next")
        assert [r.value for r in until_some(slot)] == [b"next"]


def until_some(slot) -> list:
    found: list = []
    wait_until(lambda: found.extend(r for _, rs in slot.next_batch() for r in rs) or found != [])
    return found


def test_a_sink_finds_what_it_has_written_behind_somebody_s_open_transaction(
    broker: KafkaBroker, kafka: str, partition: TopicPartition, open_transaction: Open
) -> None:
    open_transaction(partition, b"open")
    sink = TopicSink(lambda: KafkaBroker(kafka, {}), [partition.topic], (), 1, Telemetry(), Idle(SHORT))
    record = Outgoing(partition.topic, b"prediction", headers=(("id", b"1"),))
    for _ in range(2):  # the second time as after a crash, before the first state was stored
        with closing(sink.build_part("publish", "0", ({f"{partition.topic}/0": 1}, []))) as part:
            part.write_batch([[record]])
    assert broker.uncommitted().offsets(partition.topic) == [(0, 2)]

"""Faults that only Kafka has, and their errors."""

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from confluent_kafka import Producer as Client
from confluent_kafka.admin import AdminClient, ConfigResource
from harness import wait_until

from flows.adapters.kafka.broker import KafkaBroker
from flows.core.stream.broker import Broker, Consumer, Outgoing, Producer, TopicPartition, TopicSpec
from flows.errors import BrokerError, ConfigError, DeliveryError, RecordTooLarge, UnknownTopic

NOBODY = "127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture
def topic(kafka: str) -> str:
    name = f"topic-{uuid4().hex}"
    KafkaBroker(kafka, {}).create_topics([TopicSpec(name)])
    return name


@pytest.mark.parametrize(
    "call",
    [
        lambda broker: broker.topics(),
        lambda broker: broker.create_topics([TopicSpec("t")]),
        lambda broker: broker.consumer("g", {TopicPartition("t", 0): 0}),
        lambda broker: broker.producer().send([Outgoing("t", b"")]),
    ],
)
def test_a_kafka_that_is_away_is_told_within_seconds(
    call: Callable[[Broker], object], capfd: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    with pytest.raises(BrokerError, match=rf"{NOBODY} does not answer.*refused.*scripts/kafka start"):
        call(KafkaBroker(NOBODY, {}))
    assert time.monotonic() - begin < 8.0
    assert capfd.readouterr().err == ""


def test_a_topic_keeps_records_of_any_age(kafka: str, topic: str) -> None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": kafka})
    [future] = admin.describe_configs([resource]).values()
    config = {name: entry.value for name, entry in future.result().items()}
    assert config["retention.ms"] == config["retention.bytes"] == "-1"
    assert config["message.timestamp.type"] == "CreateTime"


def test_a_record_that_is_too_large_is_refused_with_its_topic_and_size(kafka: str, topic: str) -> None:
    producer = KafkaBroker(kafka, {}).producer()
    with pytest.raises(RecordTooLarge, match=rf"2,000,000 bytes for topic '{topic}'.*too large"):
        producer.send([Outgoing(topic, b"x" * 2_000_000)])
    assert producer.send([Outgoing(topic, b"x")]) == {TopicPartition(topic, 0): 1}


def test_a_record_that_only_the_broker_finds_too_large_is_refused_too(kafka: str, topic: str) -> None:
    producer = KafkaBroker(kafka, {"message.max.bytes": "4000000", "compression.type": "none"}).producer()
    with pytest.raises(RecordTooLarge, match=rf"1 of 1 .*2000000 bytes to topic '{topic}'.*too large"):
        producer.send([Outgoing(topic, b"x" * 2_000_000)])


def test_a_refused_record_is_told_by_a_later_call_and_those_after_it_are_written(
    kafka: str, topic: str
) -> None:
    producer = KafkaBroker(kafka, {"message.max.bytes": "4000000", "compression.type": "none"}).producer()
    producer.write([Outgoing(topic, b"x" * 2_000_000)], 0)
    with pytest.raises(RecordTooLarge, match=rf"1 of 1 .*2000000 bytes to topic '{topic}'.*too large"):
        producer.flush()
    producer.write([Outgoing(topic, b"x")], 0)
    producer.flush()
    assert producer.outstanding() == 0


def test_a_full_queue_waits(kafka: str, topic: str) -> None:
    producer = KafkaBroker(kafka, {"queue.buffering.max.messages": "50"}).producer()
    assert producer.send([Outgoing(topic, b"")] * 2_000) == {TopicPartition(topic, 0): 2_000}


@pytest.mark.parametrize(
    ("options", "kbytes"),
    [
        ({}, 32 * 1024),
        ({"message.max.bytes": "100000000"}, 195_312),  # a smaller one would never take such a message
    ],
)
def test_a_producers_queue_is_bounded_and_takes_the_largest_message(options, kbytes):
    assert KafkaBroker(NOBODY, options).producer().queue_kbytes == kbytes


def test_records_larger_than_the_queue_by_far_are_sent(kafka: str, topic: str) -> None:
    producer = KafkaBroker(kafka, {"queue.buffering.max.kbytes": "2048"}).producer()
    assert producer.send([Outgoing(topic, bytes(1_000_000))] * 20) == {TopicPartition(topic, 0): 20}


def test_the_end_of_a_transaction_is_no_backlog(kafka: str, topic: str) -> None:
    partition = TopicPartition(topic, 0)
    foreign = Client({"bootstrap.servers": kafka, "transactional.id": topic})
    foreign.init_transactions(30)
    foreign.begin_transaction()
    foreign.produce(topic, b"in a transaction")
    foreign.commit_transaction(30)
    broker = KafkaBroker(kafka, {})
    deadline = time.monotonic() + 20
    while broker.offsets(topic) != [(0, 2)]:  # the commit's own record follows a moment later
        assert time.monotonic() < deadline
    consumer = broker.consumer("g", {partition: 0})
    records = []
    while consumer.has_backlog(partition):
        assert time.monotonic() < deadline
        records += consumer.poll(100, 0.1)
    assert [record.value for record in records] == [b"in a transaction"]


def test_a_topic_deleted_under_its_reader_is_a_loud_error(kafka: str, topic: str) -> None:
    # librdkafka doubts the news for half a minute by default
    broker = KafkaBroker(kafka, {"topic.metadata.propagation.max.ms": "500"})
    consumer = broker.consumer("g", {TopicPartition(topic, 0): 0})
    consumer.poll(10, 0.5)
    broker.delete_topics([topic])
    with pytest.raises(UnknownTopic, match=topic):
        consumer_waits(consumer, 20.0)


def consumer_waits(consumer: Consumer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert consumer.poll(10, 0.1) == []


def test_wrong_options_are_named_and_secrets_are_not() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.option"):
        KafkaBroker(NOBODY, {"no.such.option": "1"})
    secret = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "me"}
    broker = KafkaBroker(NOBODY, {**secret, "sasl.password": "hunter2"})
    with pytest.raises(BrokerError) as caught:
        broker.topics()
    assert "hunter2" not in repr(broker) + str(caught.value)


def test_a_broker_that_refuses_our_protocol_is_told_with_the_reason(kafka: str) -> None:
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "me"}
    with pytest.raises(BrokerError, match="SASL") as caught:
        KafkaBroker(kafka, {**options, "sasl.password": "hunter2"}).topics()
    assert "hunter2" not in str(caught.value)


def is_acknowledged(producer: Producer, record: Outgoing) -> bool:
    try:
        producer.send([record])
    except DeliveryError:
        return False
    return True


def test_an_outage_slows_and_loses_nothing_and_what_is_not_acknowledged_in_time_is_told(
    kafka_node: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    node = kafka_node()
    broker = KafkaBroker(node.address, {})
    broker.create_topics([TopicSpec("t"), TopicSpec("hasty")])
    hasty = KafkaBroker(node.address, {"delivery.timeout.ms": "500", "linger.ms": "0"}).producer()
    wait_until(lambda: is_acknowledged(hasty, Outgoing("hasty", b"")), 30)
    partition = TopicPartition("t", 0)
    producer, consumer = broker.producer(), broker.consumer("g", {partition: 0})
    producer.send([Outgoing("t", b"before")])
    values = [record.value for record in consumer.poll(10, 10.0)]
    node.command("stop")
    assert consumer.poll(10, 0.5) == []
    consumer.commit({partition: 1})
    unacknowledged = f"2 of 2 records were not acknowledged by Kafka at {node.address}; .*timed out"
    with pytest.raises(DeliveryError, match=unacknowledged):
        hasty.send([Outgoing("hasty", b"")] * 2)
    node.command("start")
    assert producer.send([Outgoing("t", b"after")]) == {partition: 2}
    deadline = time.monotonic() + 30
    while len(values) < 2:
        assert time.monotonic() < deadline
        values += [record.value for record in consumer.poll(10, 0.5)]
    assert values == [b"before", b"after"]
    assert capfd.readouterr().err == ""

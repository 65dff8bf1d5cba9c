"""Idempotent Kafka producer."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from flows.adapters.kafka import topics as kafka_topics
from flows.adapters.kafka.client import open_client
from flows.adapters.kafka.errors import DENIED
from flows.adapters.kafka.health import Health
from flows.core.stream.broker import Outgoing, TopicPartition
from flows.errors import DeliveryError, RecordTooLarge, Unacknowledged

REMEMBERED = 12 * 3_600_000  # ms; half of Kafka's default producer.id.expiration.ms
QUEUE = 32 * 2**10  # KiB that a producer buffers at most; librdkafka's default is 1 GiB
PRODUCER = {
    "compression.type": "lz4",
    "delivery.timeout.ms": "120000",
    "message.max.bytes": "1500000",  # a dead letter is larger than its record, which may be 1 MiB
}
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
IN_DOUBT = PURGED | {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}


class KafkaProducer:
    """Writes idempotently; each record of a `send` has its own delivery report."""

    def __init__(self, settings: Mapping[str, str], health: Health) -> None:
        self._health = health
        self._counts: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._failures: list[str] = []
        self._topic = ""  # of the first record of the last `send`
        self._too_large = False
        self._are_in_doubt = True  # whether the failed records may be in the log all the same
        self._has_written = False
        required = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "consistent_random",  # CRC-32 of the key; a random partition without a key
            "on_delivery": self._delivered,
        }
        chosen = {**PRODUCER, **settings}
        self.queue_kbytes = _queue_kbytes(chosen["message.max.bytes"])
        queue = {"queue.buffering.max.kbytes": self.queue_kbytes}
        self._client = open_client(Producer, {**queue, **chosen, **required}, health)

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        self._topic = records[0].topic if records else ""
        try:
            with self._health.fatal_explained("WRITE", self._topic):
                return self._send(records)
        except SystemError as crash:
            if "cimpl" not in str(crash):
                raise
            if self._has_written:
                raise self._health.ended() from crash
            raise self._health.refused_at_first(self._topic) from crash

    def _send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        self._check_topics(records)
        self._client.poll(0)
        self._health.lost_connection = False
        self._ends = {}
        self._failures = []
        self._too_large = False
        self._are_in_doubt = True
        try:
            for record in records:
                self._enqueue(record)
        finally:
            self._drain(records)
        self._health.raise_if_hopeless("WRITE", self._topic)
        if self._failures:
            raise self._failure(len(records))
        return self._ends

    def close(self) -> None:
        with self._health.fatal_explained("WRITE", self._topic):
            self._drain(())

    def _failure(self, sent: int) -> DeliveryError:
        text = (
            f"{len(self._failures)} of {sent} records were not acknowledged by Kafka at "
            f"{self._health.servers}; the first: {self._failures[0]}"
        )
        if self._too_large:
            return RecordTooLarge(text)
        return Unacknowledged(text) if self._are_in_doubt else DeliveryError(text)

    def _check_topics(self, records: Sequence[Outgoing]) -> None:
        targets = {(record.topic, record.partition or 0) for record in records}
        if not {topic for topic, _ in targets} <= self._counts.keys():
            self._counts = kafka_topics.visible(self._client, self._health)
        partitions = [TopicPartition(*target) for target in targets]
        kafka_topics.check_exists(self._client, self._health, self._counts, partitions)

    def _enqueue(self, record: Outgoing) -> None:
        while True:
            try:
                self._client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    timestamp=_timestamp(record.timestamp),
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:
                self._client.poll(0.1)
            except KafkaException as error:
                if error.args[0].fatal():
                    raise
                raise _refused(record, error.args[0]) from error
            else:
                return

    def _drain(self, records: Sequence[Outgoing]) -> None:
        # in steps, so that Python can handle signals in between
        while self._client.flush(0.5):
            self._health.raise_if_hopeless("WRITE", self._topic)
            if self._health.lost_connection and _may_be_written_twice(records):
                self._client.purge()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        topic, number, offset = message.topic(), message.partition(), message.offset()
        if error is not None and error.code() in DENIED:
            self._health.deny(self._health.denial(error, "WRITE", topic=topic))
        elif error is not None:
            size = len(message.value() or b"")
            self._too_large |= error.code() == KafkaError.MSG_SIZE_TOO_LARGE
            self._failures.append(f"{size} bytes to topic {topic!r}: {_reason(error)}")
            self._are_in_doubt &= error.code() in IN_DOUBT
        elif offset is None or offset < 0:
            self._failures.append(f"a record to topic {topic!r} was acknowledged without its offset")
        else:
            self._has_written = True
            self._ends[TopicPartition(topic, number)] = offset + 1


def _may_be_written_twice(records: Sequence[Outgoing]) -> bool:
    """Return whether a restarted broker may append `records` again if their acknowledgement was lost.

    A broker detects a retry by the last sequence number of the idempotent producer. On start-up it drops that
    number if the producer's last record is older than `producer.id.expiration.ms` (a day), by the record's
    timestamp, which is old in a replay. The sender must then check which records are on the topic.
    """
    oldest = min((record.timestamp for record in records if record.timestamp), default=None)
    return oldest is not None and time.time() * 1000 - oldest > REMEMBERED


def _queue_kbytes(largest: str) -> int:
    """Return the size of a producer's queue in KiB; it must hold the largest message."""
    return max(QUEUE, 2 * int(largest) // 1024) if largest.isdecimal() else QUEUE


def _timestamp(timestamp: int | None) -> int:
    """Return the timestamp for librdkafka, where 0 means now: the first millisecond of 1970 becomes 1."""
    return 0 if timestamp is None else timestamp or 1


def _refused(record: Outgoing, error: KafkaError) -> DeliveryError:
    size = len(record.value or b"")
    failure = f"a record of {size:,} bytes for topic {record.topic!r} was refused: {error.str()}"
    too_large = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return RecordTooLarge(failure) if too_large else DeliveryError(failure)


def _reason(error: KafkaError) -> str:
    if error.code() in PURGED:
        return "the connection was lost, and a restarted Kafka might append such old records twice"
    return str(error.str())

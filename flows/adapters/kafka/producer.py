"""Idempotent Kafka producer."""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from operator import itemgetter
from typing import NoReturn

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
    "linger.ms": "1",  # on a busy machine the flush of an idle flow may end before a record is sent
    "delivery.timeout.ms": "120000",
    "message.max.bytes": "1500000",  # a dead letter is larger than its record, which may be 1 MiB
}
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
IN_DOUBT = PURGED | {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}

NEVER = 2**63

Ends = dict[TopicPartition, int]


class KafkaProducer:
    """Writes idempotently; only a record that is not acknowledged has a delivery report.

    `ends` returns where the logs of topics end.
    """

    def __init__(
        self, settings: Mapping[str, str], health: Health, ends: Callable[[Sequence[str]], Ends]
    ) -> None:
        self._health = health
        self._find_ends = ends
        self._counts: dict[str, int] = {}
        self._checked: set[TopicPartition] = set()  # those that exist
        self._written = 0  # records since none was outstanding
        self._oldest = NEVER  # the smallest timestamp (ms) of these
        self._failures: list[str] = []
        self._topic = ""  # of the first record of the last write
        self._too_large = False
        self._are_in_doubt = True  # whether the failed records may be in the log all the same
        self._has_written = False
        required = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "consistent_random",  # CRC-32 of the key; a random partition without a key
            "delivery.report.only.error": True,
            "on_delivery": self._failed,
        }
        chosen = {**PRODUCER, **settings}
        self.queue_kbytes = _queue_kbytes(chosen["message.max.bytes"])
        queue = {"queue.buffering.max.kbytes": self.queue_kbytes}
        self._client = open_client(Producer, {**queue, **chosen, **required}, health)

    def write(self, records: Sequence[Outgoing], partition: int | None = None) -> None:
        if not records:
            return
        self._topic = records[0].topic
        try:
            self._check_topics(records, partition)
            self._serve()
            self._written += len(records)
            self._oldest = min(self._oldest, _oldest(records))
            self._enqueue(records, partition)
        except (KafkaException, SystemError) as error:
            self._raise_explained(error)

    def outstanding(self, timeout: float = 0.0) -> int:
        try:
            if timeout:
                self._client.flush(timeout)
            return self._serve()
        except (KafkaException, SystemError) as error:
            self._raise_explained(error)

    def flush(self) -> None:
        try:
            self._drain()
            self._serve()
        except (KafkaException, SystemError) as error:
            self._raise_explained(error)

    def send(self, records: Sequence[Outgoing]) -> Ends:
        self.write(records)
        self.flush()
        return self._ends_of({(record.topic, record.partition) for record in records})

    def close(self) -> None:
        try:
            self._drain()
        except (KafkaException, SystemError) as error:
            self._raise_explained(error)
        del self._client  # as in `KafkaConsumer.close`

    def _ends_of(self, targets: Set[tuple[str, int | None]]) -> Ends:
        """Return the ends of the targets, of all partitions of a topic whose target has no partition."""
        ends = self._find_ends(list({topic for topic, _ in targets}))
        keyed = {topic for topic, number in targets if number is None}
        return {each: end for each, end in ends.items() if each in targets or each.topic in keyed}

    def _drain(self) -> None:
        # in steps, so that Python can handle signals in between
        while self._client.flush(0.5):
            self._check_connection()

    def _raise_explained(self, error: KafkaException | SystemError) -> NoReturn:
        """Raise the `BrokerError` for a failure of the client."""
        try:
            with self._health.fatal_explained("WRITE", self._topic):
                raise error
        except SystemError as crash:
            if "cimpl" not in str(crash):
                raise
            if self._has_written:
                raise self._health.ended() from crash
            raise self._health.refused_at_first(self._topic) from crash

    def _serve(self) -> int:
        """Handle delivery reports, and return how many records are outstanding; raise for failed ones."""
        self._client.poll(0)
        self._check_connection()
        if self._failures:
            raise self._failure()
        outstanding = len(self._client)
        if not outstanding:
            self._has_written |= self._written > 0
            self._written, self._oldest = 0, NEVER
            self._health.lost_connection = False
        return outstanding

    def _check_connection(self) -> None:
        self._health.raise_if_hopeless("WRITE", self._topic)
        if self._health.lost_connection and _may_be_written_twice(self._oldest):
            self._client.purge()

    def _failure(self) -> DeliveryError:
        """Return the error for the failed records, and forget them."""
        text = (
            f"{len(self._failures)} of {self._written} records were not acknowledged by Kafka at "
            f"{self._health.servers}; the first: {self._failures[0]}"
        )
        kind = RecordTooLarge if self._too_large else Unacknowledged if self._are_in_doubt else DeliveryError
        self._failures, self._written, self._too_large, self._are_in_doubt = [], 0, False, True
        return kind(text)

    def _check_topics(self, records: Sequence[Outgoing], partition: int | None) -> None:
        """Raise unless the topics and partitions exist; looks up only topics that are not known yet."""
        if partition is None:
            targets = {TopicPartition(record.topic, record.partition or 0) for record in records}
        else:
            targets = {TopicPartition(topic, partition) for topic in set(map(itemgetter(0), records))}
        if targets <= self._checked:
            return
        if not {topic for topic, _ in targets} <= self._counts.keys():
            self._counts = kafka_topics.visible(self._client, self._health)
        kafka_topics.check_exists(self._client, self._health, self._counts, targets)
        self._checked |= targets

    def _enqueue(self, records: Sequence[Outgoing], partition: int | None) -> None:
        produce = self._client.produce
        for record in records:
            topic, value, key, number, timestamp, headers = record
            if partition is not None:
                number = partition
            elif number is None:
                number = -1
            # by position, with two callbacks in between: names cost a fifth of the call
            others = None, None, timestamp or _timestamp(timestamp), [*headers] if headers else None
            while True:
                try:
                    produce(topic, value, key, number, *others)
                    break
                except BufferError:
                    self._client.poll(0.1)
                    self._check_connection()
                except KafkaException as error:
                    if error.args[0].fatal():
                        raise
                    raise _refused(record, error.args[0]) from error

    def _failed(self, error: KafkaError | None, message: Message) -> None:
        """Record a record that was not acknowledged (`on_delivery`)."""
        topic = message.topic()
        if error is None:
            return
        if error.code() in DENIED:
            self._health.deny(self._health.denial(error, "WRITE", topic=topic))
            return
        size = len(message.value() or b"")
        self._too_large |= error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        self._failures.append(f"{size} bytes to topic {topic!r}: {_reason(error)}")
        self._are_in_doubt &= error.code() in IN_DOUBT


def _oldest(records: Sequence[Outgoing]) -> int:
    """Return the smallest timestamp of the records that have one."""
    return min(filter(None, map(itemgetter(4), records)), default=NEVER)


def _may_be_written_twice(oldest: int) -> bool:
    """Return whether a restarted broker may append records again if their acknowledgement was lost.

    A broker detects a retry by the last sequence number of the idempotent producer. On start-up it drops that
    number if the producer's last record is older than `producer.id.expiration.ms` (a day), by the record's
    timestamp, which is old in a replay. The sender must then check which records are on the topic.
    """
    return time.time() * 1000 - oldest > REMEMBERED


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

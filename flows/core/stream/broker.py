"""The interface that Kafka and the embedded log implement.

Records are named tuples, not frozen dataclasses: there is one for each event, and a tuple is immutable and
three times cheaper to build.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """A record in the log; `timestamp` is in milliseconds since 1970 (UTC), or negative if there is none.

    Null and empty keys, values and header values are different.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Outgoing(NamedTuple):
    """A record to write.

    Without a `partition`, the CRC-32 of the key selects it, as librdkafka's `consistent` partitioner does.
    Without a `timestamp` (milliseconds), the broker sets it.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    timestamp: int | None = None
    headers: Headers = ()


class TopicSpec(NamedTuple):
    """How a topic is created. Retention is unlimited, because a replay keeps the original timestamps.

    `compacted`: the broker may keep only the latest record per key, if it supports that. `roomy`: the topic
    accepts larger records than the input topics, since a dead letter is larger than its record.
    """

    name: str
    partitions: int = 1
    compacted: bool = False
    roomy: bool = False


class Consumer(Protocol):
    """Reads assigned partitions from given offsets; there is no rebalancing."""

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """Return up to `limit` records, each partition in offset order; wait at most `timeout` seconds.

        Returns an empty list during a temporary outage. Raises `OffsetExpired` when a position is no longer
        in the log, and `BrokerError` when the broker fails for good.
        """

    def has_backlog(self, partition: TopicPartition) -> bool:
        """Return whether `poll` can return more records of `partition`, as far as the client knows.

        Records beyond the last stable offset do not count, because they cannot be read yet.
        """

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record; every record before it was returned or never will be."""

    def held_back(self, partition: TopicPartition) -> int:
        """Return how many offsets of `partition` an open transaction holds back."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop `poll` from returning records of these partitions."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo `pause`."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the group's next offsets for lag monitoring; the engine never resumes from them.

        This call or the next `poll` raises `AccessDenied` if Kafka refuses the group.
        """

    def close(self) -> None: ...


class Producer(Protocol):
    """Writes records in order, without waiting for each to be acknowledged."""

    def write(self, records: Sequence[Outgoing], partition: int | None = None) -> None:
        """Enqueue `records` for `partition` of their topics, by default for the partition of each record.

        Blocks while too much is outstanding. Raises `DeliveryError` when a record was refused or not
        acknowledged in time, also one of an earlier call.
        """

    def outstanding(self, timeout: float = 0.0) -> int:
        """Return how many records are not acknowledged yet; wait for those at most `timeout` seconds.

        Raises what `write` raises. With a timeout, records that wait to be sent with later ones are sent.
        """

    def flush(self) -> None:
        """Return once the broker has acknowledged all records; raises `DeliveryError`."""

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        """Write `records` and return once the broker has acknowledged them.

        Returns the offset where each partition written ends. Without the partition of each record it may
        also return the other partitions of a topic.
        """

    def close(self) -> None:
        """Wait for the acknowledgements and close the connection."""


class Broker(Protocol):
    """A log of topics, partitions and offsets. Methods raise `BrokerError` when the broker is unavailable."""

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist; return the names of those created."""

    def delete_topics(self, topics: Sequence[str]) -> None:
        """Delete the topics that exist, with their records and committed offsets."""

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of each topic, without internal and hidden topics."""

    def existing(self, topics: Sequence[str]) -> dict[str, int]:
        """Return the number of partitions of each of `topics`; raises `UnknownTopic` and `AccessDenied`."""

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Increase the partitions of `topic` to `partitions`; existing records stay where they are."""

    def topic_settings(self, topic: str) -> dict[str, str]:
        """Return the configuration of `topic` by Kafka's names; empty if the broker has no such settings."""

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        """Return the first offset and the last stable offset, where reading ends, of each partition."""

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return the offset where reading ends, of each partition of `topics`."""

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        """Return the first offset with a timestamp >= `timestamp` (ms), or the offset where reading ends."""

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the next offset that `group` has committed, by partition."""

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> Consumer:
        """Return a consumer that reads from these offsets; raises `UnknownTopic`."""

    def producer(self) -> Producer: ...

    def wait(self, consumers: Sequence[Consumer], timeout: float) -> None:
        """Return when a poll of one of `consumers` may return records, at the latest after `timeout` seconds.

        May return earlier. The consumers are of this broker.
        """

    def uncommitted(self) -> "Broker":
        """Return a broker whose consumers read to the high watermark, transactions included."""

    def close(self) -> None: ...


def read_range(
    broker: Broker, partition: TopicPartition, start: int, stop: int, group: str = "driftline.reader"
) -> Iterator[list[Record]]:
    """Yield batches of the records of `partition` with `start <= offset < stop`, in offset order.

    Ends early if the readable part of the log ends before `stop`.
    """
    if start >= stop:
        return
    consumer = broker.consumer(group, {partition: start})
    try:
        while consumer.position(partition) < stop:
            batch = [record for record in consumer.poll(5000, 0.1) if record.offset < stop]
            if batch:
                yield batch
            elif not consumer.has_backlog(partition):
                return
    finally:
        consumer.close()


def read_since(broker: Broker, topic: str, time: int) -> Iterator[Record]:
    """Yield the records of `topic` from `time` (ms) to the current end of the log, partition by partition."""
    for records in partitions_since(broker, topic, time):
        yield from records


def partitions_since(broker: Broker, topic: str, time: int) -> list[Iterator[Record]]:
    """Return the records of each partition of `topic` from `time` (ms) to the current end of the log."""
    return [
        _records_since(broker, TopicPartition(topic, number), time, end)
        for number, (_, end) in enumerate(broker.offsets(topic))
    ]


def _records_since(broker: Broker, partition: TopicPartition, time: int, end: int) -> Iterator[Record]:
    for records in read_range(broker, partition, broker.offset_at(partition, time), end):
        yield from records

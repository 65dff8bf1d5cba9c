"""The narrow interface behind which Kafka and the embedded log stand.

Records are named tuples, not frozen dataclasses: the engine makes one for each event, and a tuple is
immutable and three times cheaper to build.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes | None], ...]
NO_TIMESTAMP = -1  # of a record whose producer gave it none


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """A record as it stands in the log. `timestamp` is in milliseconds since 1970 (UTC).

    Null and empty keys, values and header values are not the same. A negative timestamp is none.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Outgoing(NamedTuple):
    """A record to be written.

    Without a `partition` the key's CRC-32 chooses it, as librdkafka's `consistent` partitioner does.
    Without a `timestamp` (milliseconds) the broker's clock gives it.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    timestamp: int | None = None
    headers: Headers = ()


class TopicSpec(NamedTuple):
    """How a topic is created. Retention is unlimited: a replay carries the timestamps of its day.

    Of a `compacted` topic a broker that can need keep only the last record of each key. A `roomy` one takes
    records larger than those of the topics that others write to, by what a dead letter adds to its record.
    """

    name: str
    partitions: int = 1
    compacted: bool = False
    roomy: bool = False


class Consumer(Protocol):
    """Reads the partitions it was given, from the offsets it was given; nothing rebalances."""

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """Up to `limit` records, each partition in offset order; waits at most `timeout` seconds.

        Raises `OffsetExpired` when a position is no longer in the log and `BrokerError` when the
        broker fails for good; an outage that may pass gives an empty list.
        """

    def has_backlog(self, partition: TopicPartition) -> bool:
        """Whether the log is known to hold records of `partition` that `poll` can give and has not given.

        Records behind the last stable offset are none, since reading ends there.
        """

    def position(self, partition: TopicPartition) -> int:
        """The offset from which on `poll` gives records; every one before it was given or never will be."""

    def held_back(self, partition: TopicPartition) -> int:
        """How many offsets an open transaction holds back where reading of `partition` has ended."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Let `poll` give no records of these partitions."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo `pause`."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Show the group's next offsets to lag tools. The engine itself never resumes from them.

        It or the next `poll` raises `AccessDenied` where Kafka refuses the group.
        """

    def close(self) -> None: ...


class Producer(Protocol):
    """Writes batches of records and returns when they are safe."""

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        """Write `records` in order; returns when the broker has acknowledged every one.

        The result maps each partition written to the offset that follows its last record. A full
        queue waits. Raises `DeliveryError` when a record was refused or not acknowledged in time.
        """

    def close(self) -> None: ...


class Broker(Protocol):
    """A log of topics, partitions and offsets. Every method raises `BrokerError` when it is away."""

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that are missing; the names of those created."""

    def delete_topics(self, topics: Sequence[str]) -> None:
        """Delete those of the topics that exist, with their records and what groups committed of them."""

    def topics(self) -> dict[str, int]:
        """The number of partitions of each topic (internal and hidden topics left out)."""

    def existing(self, topics: Sequence[str]) -> dict[str, int]:
        """The number of partitions of each of `topics`; raises `UnknownTopic` and `AccessDenied`."""

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Let `topic` have `partitions` partitions, which must be more than it has; its records stay."""

    def topic_settings(self, topic: str) -> dict[str, str]:
        """The configuration of `topic` by Kafka's names; empty where the broker has none."""

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        """For each partition the first offset in the log, and the last stable one, where reading ends."""

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        """The first offset whose record's timestamp is at least `timestamp` (ms), else where reading ends."""

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The next offset that `group` has committed, by partition."""

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> Consumer:
        """A consumer of these partitions from these offsets; raises `UnknownTopic`."""

    def producer(self) -> Producer: ...

    def uncommitted(self) -> "Broker":
        """A broker whose readers read to the high watermark, through open and aborted transactions."""

    def close(self) -> None: ...


def read_range(
    broker: Broker, partition: TopicPartition, start: int, stop: int, group: str = "driftline.reader"
) -> Iterator[list[Record]]:
    """Batches of the records of `partition` with `start <= offset < stop`, in offset order.

    It ends where reading ends, also when that is before `stop`.
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
    """The records of `topic` from `time` (ms) to the end that its log has now, partition by partition."""
    for number, (_, end) in enumerate(broker.offsets(topic)):
        partition = TopicPartition(topic, number)
        for records in read_range(broker, partition, broker.offset_at(partition, time), end):
            yield from records

"""The embedded log: a broker in one SQLite file, for one machine and several processes.

A `write` or `send` is one transaction, so readers see it as a whole over all its topics. SQLite runs in WAL
mode with `synchronous=NORMAL`: a killed process loses nothing that was acknowledged; a power failure may lose
the most recent transactions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.adapters.sqlite.log_batch import offset_since
from flows.adapters.sqlite.log_consumer import LogConsumer
from flows.adapters.sqlite.log_file import (
    at_place,
    bounds,
    create_log,
    explained,
    open_log,
    partition_ends,
    partition_ids,
    transaction,
)
from flows.adapters.sqlite.log_producer import LogProducer
from flows.adapters.sqlite.log_waiters import wait_for
from flows.core.stream.broker import TopicPartition, TopicSpec
from flows.errors import UnknownTopic


class LogBroker:
    """The log in the file at `path`, which is created if it does not exist.

    A broker, its consumers and its producers must each be used by the thread that created them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            create_log(path)
        self._connection = open_log(path)

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        with explained(self._path), transaction(self._connection, "IMMEDIATE"):
            existing = partition_ids(self._connection)
            missing = [topic for topic in topics if topic.name not in existing]
            self._connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [(topic.name, number) for topic in missing for number in range(topic.partitions)],
            )
        return [topic.name for topic in missing]

    def delete_topics(self, topics: Sequence[str]) -> None:
        with explained(self._path), transaction(self._connection, "IMMEDIATE"):
            known = partition_ids(self._connection)
            ids = [(id_,) for topic in topics for id_ in known.get(topic, ())]
            self._connection.executemany("DELETE FROM batches WHERE partition_id = ?", ids)
            self._connection.executemany("DELETE FROM groups WHERE partition_id = ?", ids)
            self._connection.executemany("DELETE FROM partitions WHERE id = ?", ids)

    def topics(self) -> dict[str, int]:
        with explained(self._path):
            return {topic: len(ids) for topic, ids in partition_ids(self._connection).items()}

    def existing(self, topics: Sequence[str]) -> dict[str, int]:
        known = self.topics()
        for topic in topics:
            if topic not in known:
                raise UnknownTopic(topic)
        return {topic: known[topic] for topic in topics}

    def add_partitions(self, topic: str, partitions: int) -> None:
        with explained(self._path), transaction(self._connection, "IMMEDIATE"):
            first = len(self._ids(topic))
            self._connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [(topic, number) for number in range(first, partitions)],
            )

    def topic_settings(self, topic: str) -> dict[str, str]:
        """Return no settings: the log keeps all records for ever, with their producers' timestamps."""
        return {}

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        with explained(self._path):
            return [bounds(self._connection, id_) for id_ in self._ids(topic)]

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        with explained(self._path):
            ends = partition_ends(self._connection)
        for topic in topics:
            if topic not in ends:
                raise UnknownTopic(topic)
        return {
            TopicPartition(topic, number): end
            for topic in topics
            for number, (_, end) in enumerate(ends[topic])
        }

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        """Return the first offset at or after `timestamp` (ms); scans the partition from its start."""
        with explained(self._path):
            id_ = at_place(partition_ids(self._connection), partition)
            found = self._connection.execute(
                "SELECT first, records FROM batches"
                " WHERE partition_id = ? AND newest >= ? ORDER BY last LIMIT 1",
                (id_, timestamp),
            ).fetchone()
            return offset_since(found[0], found[1], timestamp) if found else bounds(self._connection, id_)[1]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        with explained(self._path):
            offsets = dict(
                self._connection.execute(
                    "SELECT partition, offset FROM groups JOIN partitions ON id = partition_id"
                    " WHERE name = ? AND topic = ?",
                    (group, topic),
                )
            )
            if not offsets:
                self._ids(topic)  # raises `UnknownTopic`
            return offsets

    def wait(self, consumers: Sequence[Any], timeout: float) -> None:
        if not any(consumer.is_behind() for consumer in consumers):
            wait_for([consumer.waiter for consumer in consumers], timeout)

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> LogConsumer:
        return LogConsumer(self._path, group, start)

    def producer(self) -> LogProducer:
        return LogProducer(self._path)

    def uncommitted(self) -> "LogBroker":
        return self  # the log has no open transactions that span sends

    def close(self) -> None:
        self._connection.close()

    def _ids(self, topic: str) -> list[int]:
        ids = partition_ids(self._connection).get(topic)
        if ids is None:
            raise UnknownTopic(topic)
        return ids

"""Producer of the embedded log."""

import itertools
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from flows.adapters.sqlite.log_batch import pack, split
from flows.adapters.sqlite.log_file import open_log, partition_ends, transaction
from flows.adapters.sqlite.log_waiters import wake
from flows.core.stream.broker import Outgoing, TopicPartition
from flows.errors import DeliveryError, UnknownPartition, UnknownTopic

_Partitions = Mapping[str, Sequence[tuple[int, int]]]  # the id and the end offset of each, by topic


class LogProducer:
    """Appends to the log at `path`; each `write` and each `send` is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_log(path)
        self._turns = itertools.count()

    def write(self, records: Sequence[Outgoing], partition: int | None = None) -> None:
        self._write(records, partition)

    def outstanding(self, timeout: float = 0.0) -> int:
        return 0

    def flush(self) -> None:
        """Return at once, since every write is acknowledged."""

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        return self._write(records, None)

    def close(self) -> None:
        self._connection.close()

    def _write(self, records: Sequence[Outgoing], partition: int | None) -> dict[TopicPartition, int]:
        try:
            with transaction(self._connection, "IMMEDIATE"):
                partitions = partition_ends(self._connection)
                ends = self._append(partitions, self._by_partition(partitions, records, partition))
        except sqlite3.Error as error:
            raise DeliveryError(
                f"the log {self._path} did not accept {len(records)} records: {error}; "
                "check that its disk has space and that no other program keeps the file locked"
            ) from error
        wake(self._path, [partitions[topic][number][0] for topic, number in ends])
        return ends

    def _append(
        self, partitions: _Partitions, records: Mapping[TopicPartition, Sequence[Outgoing]]
    ) -> dict[TopicPartition, int]:
        """Append the records of each partition; return where they end."""
        now = time.time_ns() // 1_000_000
        ends, rows, updates = {}, [], []
        for partition, of_partition in records.items():
            id_, end = partitions[partition.topic][partition.partition]
            for batch in split(of_partition):
                first, end = end, end + len(batch)
                rows.append((id_, end - 1, first, *pack(batch, now)))
            updates.append((end, id_))
            ends[partition] = end
        self._connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.executemany("UPDATE partitions SET next = ? WHERE id = ?", updates)
        return ends

    def _by_partition(
        self, partitions: _Partitions, records: Iterable[Outgoing], partition: int | None
    ) -> dict[TopicPartition, list[Outgoing]]:
        """Return the records of each partition, in order; `partition` is that of all, if given."""
        grouped: defaultdict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for record in records:
            topic, _, key, number, _, _ = record
            if partition is not None:
                number = partition
            elif number is None:
                number = self._choose(key, len(partitions.get(topic, "?")))
            grouped[topic, number].append(record)
        for topic, number in grouped:
            if topic not in partitions:
                raise UnknownTopic(topic)
            if not 0 <= number < len(partitions[topic]):
                raise UnknownPartition(topic, number, len(partitions[topic]))
        return {TopicPartition(*place): of_partition for place, of_partition in grouped.items()}

    def _choose(self, key: bytes | None, partitions: int) -> int:
        """Return the number of the partition for a record with this key."""
        return (crc32(key) if key else next(self._turns)) % partitions

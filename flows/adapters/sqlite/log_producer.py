"""Producer of the embedded log."""

import itertools
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from flows.adapters.sqlite.log_batch import pack, split
from flows.adapters.sqlite.log_file import at_place, open_log, partition_ends, transaction
from flows.adapters.sqlite.log_waiters import wake
from flows.core.stream.broker import Outgoing, TopicPartition
from flows.errors import DeliveryError


class _Packed(NamedTuple):
    """A batch as it is stored, with the number of its records and their newest timestamp (ms)."""

    length: int
    newest: int
    records: bytes


_Partitions = Mapping[str, Sequence[tuple[int, int]]]  # the id and the end offset of each, by topic
_Records = Mapping[TopicPartition, Sequence[Outgoing]]
_Batches = Mapping[TopicPartition, Sequence[_Packed]]


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
            batches = self._pack(records, partition)  # before the transaction, which holds up other writers
            with transaction(self._connection, "IMMEDIATE"):
                partitions = partition_ends(self._connection)
                ends = self._append(partitions, batches)
        except sqlite3.Error as error:
            raise DeliveryError(
                f"the log {self._path} did not accept {len(records)} records: {error}; "
                "check that its disk has space and that no other program keeps the file locked"
            ) from error
        wake(self._path, [partitions[topic][number][0] for topic, number in ends])
        return ends

    def _pack(self, records: Iterable[Outgoing], partition: int | None) -> _Batches:
        """Return the batches of each partition; `partition` is that of all records, if given."""
        now = time.time_ns() // 1_000_000
        grouped = self._by_partition(records) if partition is None else _by_topic(records, partition)
        return {
            place: [_Packed(len(batch), *pack(batch, now)) for batch in split(of_place)]
            for place, of_place in grouped.items()
        }

    def _append(self, partitions: _Partitions, batches: _Batches) -> dict[TopicPartition, int]:
        """Append the batches of each partition; return where they end."""
        ends, rows, updates = {}, [], []
        for place, of_place in batches.items():
            id_, end = at_place(partitions, place)
            for length, newest, packed in of_place:
                first, end = end, end + length
                rows.append((id_, end - 1, first, newest, packed))
            updates.append((end, id_))
            ends[place] = end
        self._connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.executemany("UPDATE partitions SET next = ? WHERE id = ?", updates)
        return ends

    def _by_partition(self, records: Iterable[Outgoing]) -> _Records:
        """Return the records of each partition, in order."""
        partitions = partition_ends(self._connection)
        grouped: defaultdict[TopicPartition, list[Outgoing]] = defaultdict(list)
        for record in records:
            topic, _, key, number, _, _ = record
            if number is None:
                number = self._choose(key, len(partitions.get(topic, "?")))
            grouped[TopicPartition(topic, number)].append(record)
        return grouped

    def _choose(self, key: bytes | None, partitions: int) -> int:
        """Return the number of the partition for a record with this key."""
        return (crc32(key) if key else next(self._turns)) % partitions


def _by_topic(records: Iterable[Outgoing], partition: int) -> _Records:
    """Return the records of each topic, in order, for this partition."""
    grouped: defaultdict[str, list[Outgoing]] = defaultdict(list)
    for record in records:
        grouped[record[0]].append(record)
    return {TopicPartition(topic, partition): of_topic for topic, of_topic in grouped.items()}

"""Producer of the embedded log."""

import itertools
import sqlite3
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from zlib import crc32

from flows.adapters.sqlite.log_file import open_log, partition_ids, transaction
from flows.adapters.sqlite.log_headers import pack_headers
from flows.core.stream.broker import Outgoing, TopicPartition
from flows.errors import DeliveryError, UnknownPartition, UnknownTopic


class LogProducer:
    """Appends to the log at `path`; each `send` is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_log(path)
        self._turns = itertools.count()

    def write(self, records: Sequence[Outgoing], partition: int | None = None) -> None:
        self.send(records if partition is None else [r._replace(partition=partition) for r in records])

    def outstanding(self, timeout: float = 0.0) -> int:
        return 0

    def flush(self) -> None:
        """Do nothing: each write is a finished transaction."""

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        try:
            with transaction(self._connection, "IMMEDIATE"):
                return self._append(records)
        except sqlite3.Error as error:
            raise DeliveryError(
                f"the log {self._path} did not accept {len(records)} records: {error}; "
                "check that its disk has space and that no other program keeps the file locked"
            ) from error

    def close(self) -> None:
        self._connection.close()

    def _append(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        following: dict[int, int] = dict(self._connection.execute("SELECT id, next FROM partitions"))
        ids = partition_ids(self._connection)
        now = time.time_ns() // 1_000_000
        written: dict[int, TopicPartition] = {}
        rows = []
        for record in records:
            number, id_ = self._choose(ids, record)
            offset = following[id_]
            following[id_] = offset + 1
            written[id_] = TopicPartition(record.topic, number)
            timestamp = now if record.timestamp is None else record.timestamp
            headers = pack_headers(record.headers) if record.headers else None
            rows.append((id_, offset, timestamp, record.key, record.value, headers))
        rows.sort(key=itemgetter(0))  # rows that are neighbours in the file are written together
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._connection.executemany(
            "UPDATE partitions SET next = ? WHERE id = ?", [(following[id_], id_) for id_ in written]
        )
        return {partition: following[id_] for id_, partition in written.items()}

    def _choose(self, topics: Mapping[str, list[int]], record: Outgoing) -> tuple[int, int]:
        """Return the number and the id of the partition for `record`."""
        ids = topics.get(record.topic)
        if ids is None:
            raise UnknownTopic(record.topic)
        if record.partition is not None:
            number = record.partition
        elif record.key:
            number = crc32(record.key) % len(ids)
        else:
            number = next(self._turns) % len(ids)
        if not 0 <= number < len(ids):
            raise UnknownPartition(record.topic, number, len(ids))
        return number, ids[number]

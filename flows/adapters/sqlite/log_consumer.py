"""Consumer of the embedded log."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from flows.adapters.sqlite.log_file import (
    bounds,
    explained,
    open_log,
    partition_id,
    partition_ids,
    transaction,
)
from flows.adapters.sqlite.log_headers import unpack_headers
from flows.core.stream.broker import Record, TopicPartition
from flows.errors import OffsetExpired, UnknownTopic

logger = logging.getLogger("driftline.log")

POLL_BYTES = 16 * 2**20  # bytes of records that one poll returns at most, or a single larger record
STEP = 0.001  # seconds between the first two checks for new records while a poll waits
LONGEST_STEP = 0.01  # seconds between later checks


@dataclass(slots=True)
class _Cursor:
    """The reading position in one partition; `end` is the partition's end offset in the latest snapshot."""

    partition: TopicPartition
    id: int
    position: int
    end: int = 0
    paused: bool = False

    @property
    def behind(self) -> bool:
        return self.position < self.end and not self.paused


class LogConsumer:
    """Reads partitions of the log at `path`, from the offsets of `start`.

    Each poll reads from one snapshot, so it never sees part of a `send`.
    """

    def __init__(self, path: Path, group: str, start: Mapping[TopicPartition, int]) -> None:
        self._path = path
        self._group = group
        self._connection = open_log(path)
        self._version = 0
        with explained(path):
            ids = partition_ids(self._connection)
            self._cursors = {tp: _Cursor(tp, partition_id(ids, tp), offset) for tp, offset in start.items()}
            self._turns = deque(self._cursors.values())
            self._update_ends()

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline, step = time.monotonic() + timeout, STEP
        with explained(self._path):
            while True:
                if (self._log_changed() or self._behind()) and (records := self._read(limit)):
                    return records
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                time.sleep(min(step, left))
                step = min(2 * step, LONGEST_STEP)

    def has_backlog(self, partition: TopicPartition) -> bool:
        cursor = self._cursors[partition]
        return cursor.position < cursor.end

    def position(self, partition: TopicPartition) -> int:
        return self._cursors[partition].position

    def held_back(self, partition: TopicPartition) -> int:
        return 0

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._cursors[partition].paused = True

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._cursors[partition].paused = False

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        rows = [(self._group, self._cursors[tp].id, offset) for tp, offset in offsets.items()]
        try:
            with transaction(self._connection, "IMMEDIATE"):
                self._connection.executemany("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            logger.warning(
                "offsets of group %s were not committed, so its lag looks too large: %s", self._group, error
            )

    def close(self) -> None:
        self._connection.close()

    def has_news(self) -> bool:
        """Return whether the log changed since the last poll, or holds records that it did not return."""
        return self._data_version() != self._version or bool(self._behind())

    def _data_version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _log_changed(self) -> bool:
        version = self._data_version()
        changed = version != self._version
        self._version = version
        return changed

    def _behind(self) -> list[_Cursor]:
        return [cursor for cursor in self._turns if cursor.behind]

    def _update_ends(self) -> None:
        ends: dict[int, int] = dict(self._connection.execute("SELECT id, next FROM partitions"))
        for cursor in self._turns:
            if cursor.id not in ends:
                raise UnknownTopic(cursor.partition.topic)
            cursor.end = ends[cursor.id]

    def _read(self, limit: int) -> list[Record]:
        """Return up to `limit` records, an equal share from each partition that is behind."""
        records: list[Record] = []
        self._turns.rotate()
        with transaction(self._connection, "DEFERRED"):
            self._update_ends()
            for cursor in self._turns:
                if cursor.position > cursor.end:
                    raise self._expired(cursor)
            behind = self._behind()
            size = POLL_BYTES // max(1, len(behind))
            for done, cursor in enumerate(behind):
                share = ceil((limit - len(records)) / (len(behind) - done))
                records += self._read_partition(cursor, share, size)
        return records

    def _read_partition(self, cursor: _Cursor, limit: int, size: int) -> list[Record]:
        """Return up to `limit` records; stop after the record with which they reach `size` bytes."""
        topic, partition = cursor.partition
        rows = self._connection.execute(
            "SELECT offset, timestamp, key, value, headers FROM records"
            " WHERE partition_id = ? AND offset >= ? ORDER BY offset LIMIT ?",
            (cursor.id, cursor.position, limit),
        )
        records = []
        for offset, timestamp, key, value, packed in rows:
            headers = unpack_headers(packed) if packed else ()
            records.append(Record(topic, partition, offset, timestamp, key, value, headers))
            size -= len(value or b"") + len(packed or b"")
            if size <= 0:
                break
        rows.close()
        if limit and (not records or records[0].offset != cursor.position):
            raise self._expired(cursor)
        cursor.position += len(records)
        return records

    def _expired(self, cursor: _Cursor) -> OffsetExpired:
        first, end = bounds(self._connection, cursor.id)
        topic, partition = cursor.partition
        return OffsetExpired(
            f"offset {cursor.position} of {topic}[{partition}] is not in the log {self._path}, which holds "
            f"offsets {first} to {end} of it: the file was replaced or trimmed"
        )

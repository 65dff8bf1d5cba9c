"""Consumer of the embedded log."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from flows.adapters.sqlite.log_batch import unpack
from flows.adapters.sqlite.log_file import (
    at_place,
    bounds,
    explained,
    open_log,
    partition_ids,
    transaction,
)
from flows.adapters.sqlite.log_waiters import Waiter, wait_for
from flows.core.stream.broker import Record, TopicPartition
from flows.errors import OffsetExpired, UnknownTopic

logger = logging.getLogger("driftline.log")

POLL_BYTES = 16 * 2**20  # bytes of batches after which one poll reads no further one


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
            self._cursors = {tp: _Cursor(tp, at_place(ids, tp), offset) for tp, offset in start.items()}
            self._turns = deque(self._cursors.values())
            self._update_ends()
        self.waiter = Waiter(path, [cursor.id for cursor in self._turns])

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        with explained(self._path):
            while True:
                if (self._log_changed() or self.is_behind()) and (records := self._read(limit)):
                    return records
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                wait_for([self.waiter], left)

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
        self.waiter.close()
        self._connection.close()

    def is_behind(self) -> bool:
        """Return whether the last poll, or a pause, left records that a poll would return."""
        return any(cursor.behind for cursor in self._turns)

    def _log_changed(self) -> bool:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._version
        self._version = version
        return changed

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
            behind = [cursor for cursor in self._turns if cursor.behind]
            size = POLL_BYTES // max(1, len(behind))
            for done, cursor in enumerate(behind):
                share = ceil((limit - len(records)) / (len(behind) - done))
                records += self._read_partition(cursor, share, size)
        return records

    def _read_partition(self, cursor: _Cursor, limit: int, size: int) -> list[Record]:
        """Return up to `limit` records; stop after the batch with which they reach `size` bytes."""
        if limit == 0:
            return []
        records: list[Record] = []
        rows = self._connection.execute(
            "SELECT first, records FROM batches WHERE partition_id = ? AND last >= ? ORDER BY last",
            (cursor.id, cursor.position),
        )
        for first, packed in rows:
            if first > cursor.position:
                break
            start = cursor.position - first
            batch = unpack(cursor.partition, first, packed)[start : start + limit - len(records)]
            records += batch
            cursor.position += len(batch)
            size -= len(packed)
            if len(records) == limit or size <= 0:
                break
        rows.close()
        if not records:
            raise self._expired(cursor)
        return records

    def _expired(self, cursor: _Cursor) -> OffsetExpired:
        first, end = bounds(self._connection, cursor.id)
        topic, partition = cursor.partition
        return OffsetExpired(
            f"offset {cursor.position} of {topic}[{partition}] is not in the log {self._path}, which holds "
            f"offsets {first} to {end} of it: the file was replaced or trimmed"
        )

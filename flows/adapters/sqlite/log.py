"""The embedded log: a broker in one SQLite file, for one machine and several processes.

A `send` is one transaction, so that readers see it whole over all its topics. SQLite runs in WAL mode with
`synchronous=NORMAL`: a killed process loses nothing that was acknowledged; a power failure may lose the
last moments.
"""

import itertools
import logging
import sqlite3
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from uuid import uuid4
from zlib import crc32

from flows.core.stream.broker import Headers, Outgoing, Record, TopicPartition, TopicSpec
from flows.errors import BrokerError, DeliveryError, OffsetExpired, UnknownPartition, UnknownTopic
from flows.host.state_dir import make_private

logger = logging.getLogger("driftline.log")

APPLICATION = 0x44524654  # "DRFT" in the file's header tells a log from any other SQLite file
FORMAT = 1
BUSY = 30.0  # seconds that a writer waits for the other writers
POLL_BYTES = 16 * 2**20  # of records that one poll gives, however few they are
_NO_LENGTH = 2**32 - 1
_NULL = struct.pack("<I", _NO_LENGTH)
STEP = 0.001  # seconds between two looks for news while a poll waits
LONGEST_STEP = 0.01  # who waits longer for a record can wait for this too

SCHEMA = f"""
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- a reader of a deleted topic must not meet another one
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    partition_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    key BLOB,
    value BLOB,
    headers BLOB,
    PRIMARY KEY (partition_id, offset)
) WITHOUT ROWID;
CREATE TABLE groups (
    name TEXT NOT NULL,
    partition_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (name, partition_id)
) WITHOUT ROWID;
"""

_ADVICE = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "make room on its disk",
    sqlite3.SQLITE_BUSY: "stop the other program that keeps it locked",
    sqlite3.SQLITE_READONLY: "let this user write it",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write it",
}


class LogBroker:
    """The log in the file at `path`, which is created when it is missing.

    A broker, and the consumers and producers that it makes, are each used by the thread that made them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            _create(path)
        self._connection = _open(path)

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        with _explained(self._path), _transaction(self._connection, "IMMEDIATE"):
            existing = _partition_ids(self._connection)
            missing = [topic for topic in topics if topic.name not in existing]
            self._connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [(topic.name, number) for topic in missing for number in range(topic.partitions)],
            )
        return [topic.name for topic in missing]

    def delete_topics(self, topics: Sequence[str]) -> None:
        with _explained(self._path), _transaction(self._connection, "IMMEDIATE"):
            known = _partition_ids(self._connection)
            ids = [(id_,) for topic in topics for id_ in known.get(topic, ())]
            self._connection.executemany("DELETE FROM records WHERE partition_id = ?", ids)
            self._connection.executemany("DELETE FROM groups WHERE partition_id = ?", ids)
            self._connection.executemany("DELETE FROM partitions WHERE id = ?", ids)

    def topics(self) -> dict[str, int]:
        with _explained(self._path):
            return {topic: len(ids) for topic, ids in _partition_ids(self._connection).items()}

    def existing(self, topics: Sequence[str]) -> dict[str, int]:
        known = self.topics()
        for topic in topics:
            if topic not in known:
                raise UnknownTopic(topic)
        return {topic: known[topic] for topic in topics}

    def add_partitions(self, topic: str, partitions: int) -> None:
        with _explained(self._path), _transaction(self._connection, "IMMEDIATE"):
            first = len(self._ids(topic))
            self._connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [(topic, number) for number in range(first, partitions)],
            )

    def topic_settings(self, topic: str) -> dict[str, str]:
        """The log keeps all records for ever, with the timestamps of their producers: nothing is set."""
        return {}

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        with _explained(self._path):
            return [_bounds(self._connection, id_) for id_ in self._ids(topic)]

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        """The first offset at or after `timestamp` (ms); reads the partition from its start to there."""
        with _explained(self._path):
            id_ = _one_id(_partition_ids(self._connection), partition)
            found = self._connection.execute(
                "SELECT offset FROM records"
                " WHERE partition_id = ? AND timestamp >= ? ORDER BY offset LIMIT 1",
                (id_, timestamp),
            ).fetchone()
            return int(found[0]) if found else _bounds(self._connection, id_)[1]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        with _explained(self._path):
            offsets = dict(
                self._connection.execute("SELECT partition_id, offset FROM groups WHERE name = ?", (group,))
            )
            return {number: offsets[id_] for number, id_ in enumerate(self._ids(topic)) if id_ in offsets}

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> "LogConsumer":
        return LogConsumer(self._path, group, start)

    def producer(self) -> "LogProducer":
        return LogProducer(self._path)

    def uncommitted(self) -> "LogBroker":
        return self  # the log has no transactions of its own

    def close(self) -> None:
        self._connection.close()

    def _ids(self, topic: str) -> list[int]:
        ids = _partition_ids(self._connection).get(topic)
        if ids is None:
            raise UnknownTopic(topic)
        return ids


@dataclass(slots=True)
class _Cursor:
    """How far one partition is read; `end` follows its last record in the newest snapshot."""

    partition: TopicPartition
    id: int
    position: int
    end: int = 0
    paused: bool = False

    @property
    def behind(self) -> bool:
        return self.position < self.end and not self.paused


class LogConsumer:
    """Reads partitions of the log; each poll is one snapshot, so no send is seen in part."""

    def __init__(self, path: Path, group: str, start: Mapping[TopicPartition, int]) -> None:
        self._path = path
        self._group = group
        self._connection = _open(path)
        self._version = 0
        with _explained(path):
            ids = _partition_ids(self._connection)
            self._cursors = {tp: _Cursor(tp, _one_id(ids, tp), offset) for tp, offset in start.items()}
            self._turns = deque(self._cursors.values())
            self._see_ends()

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline, step = time.monotonic() + timeout, STEP
        with _explained(self._path):
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
            with _transaction(self._connection, "IMMEDIATE"):
                self._connection.executemany("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            logger.warning("the offsets of group %s are not shown for now: %s", self._group, error)

    def close(self) -> None:
        self._connection.close()

    def _log_changed(self) -> bool:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._version
        self._version = version
        return changed

    def _behind(self) -> list[_Cursor]:
        return [cursor for cursor in self._turns if cursor.behind]

    def _see_ends(self) -> None:
        ends: dict[int, int] = dict(self._connection.execute("SELECT id, next FROM partitions"))
        for cursor in self._turns:
            if cursor.id not in ends:
                raise UnknownTopic(cursor.partition.topic)
            cursor.end = ends[cursor.id]

    def _read(self, limit: int) -> list[Record]:
        """Up to `limit` records, shared evenly by the partitions that are behind."""
        records: list[Record] = []
        self._turns.rotate()
        with _transaction(self._connection, "DEFERRED"):
            self._see_ends()
            for cursor in self._turns:
                if cursor.position > cursor.end:
                    raise self._expired(cursor)
            behind = self._behind()
            size = POLL_BYTES // max(1, len(behind))
            for waiting, cursor in zip(range(len(behind), 0, -1), behind, strict=True):
                records += self._read_partition(cursor, -((len(records) - limit) // waiting), size)
        return records

    def _read_partition(self, cursor: _Cursor, limit: int, size: int) -> list[Record]:
        """Up to `limit` records, and none behind those that together have `size` bytes."""
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
        first, end = _bounds(self._connection, cursor.id)
        topic, partition = cursor.partition
        return OffsetExpired(
            f"offset {cursor.position} of {topic}[{partition}] is not in the log {self._path}, which holds "
            f"offsets {first} to {end} of it: the file was replaced or trimmed"
        )


class LogProducer:
    """Appends to the log; a `send` is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _open(path)
        self._turns = itertools.count()

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        try:
            with _transaction(self._connection, "IMMEDIATE"):
                return self._append(records)
        except sqlite3.Error as error:
            raise DeliveryError(
                f"the log {self._path} did not take {len(records)} records: {error}; "
                "check that its disk has space and that no other program keeps the file locked"
            ) from error

    def close(self) -> None:
        self._connection.close()

    def _append(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        following: dict[int, int] = dict(self._connection.execute("SELECT id, next FROM partitions"))
        ids = _partition_ids(self._connection)
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
        rows.sort(key=itemgetter(0))  # neighbours in the file are written together
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._connection.executemany(
            "UPDATE partitions SET next = ? WHERE id = ?", [(following[id_], id_) for id_ in written]
        )
        return {partition: following[id_] for id_, partition in written.items()}

    def _choose(self, topics: Mapping[str, list[int]], record: Outgoing) -> tuple[int, int]:
        """The number and the id of the partition that `record` goes to."""
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


def pack_headers(headers: Headers) -> bytes:
    """Names and values, each after its length; a null value has a length that no value has.

    >>> unpack_headers(pack_headers((("trace", b"1"), ("empty", b""), ("null", None))))
    (('trace', b'1'), ('empty', b''), ('null', None))
    """
    fields = [field for name, value in headers for field in (name.encode(), value)]
    return b"".join(_NULL if field is None else struct.pack("<I", len(field)) + field for field in fields)


def unpack_headers(packed: bytes) -> Headers:
    """What `pack_headers` packed."""
    fields = _fields(packed)
    return tuple(((name or b"").decode(), value) for name, value in zip(fields, fields, strict=True))


def _fields(packed: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(packed):
        (size,) = struct.unpack_from("<I", packed, at)
        at += 4
        if size == _NO_LENGTH:
            yield None
        else:
            at += size
            yield packed[at - size : at]


def _partition_ids(connection: sqlite3.Connection) -> dict[str, list[int]]:
    """The ids of each topic's partitions, in the order of their numbers."""
    ids: dict[str, list[int]] = {}
    rows: Iterable[tuple[str, int]] = connection.execute(
        "SELECT topic, id FROM partitions ORDER BY topic, partition"
    )
    for topic, id_ in rows:
        ids.setdefault(topic, []).append(id_)
    return ids


def _one_id(ids: Mapping[str, list[int]], partition: TopicPartition) -> int:
    topic, number = partition
    if topic not in ids:
        raise UnknownTopic(topic)
    if not 0 <= number < len(ids[topic]):
        raise UnknownPartition(topic, number, len(ids[topic]))
    return ids[topic][number]


def _bounds(connection: sqlite3.Connection, id_: int) -> tuple[int, int]:
    """The first offset of a partition and the one after its last."""
    first, end = connection.execute(
        "SELECT (SELECT min(offset) FROM records WHERE partition_id = id), next FROM partitions WHERE id = ?",
        (id_,),
    ).fetchone()
    return end if first is None else first, end


def _create(path: Path) -> None:
    """Make an empty log under another name and link it into place: nobody sees half a log."""
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        make_private(path.parent)
        connection = sqlite3.connect(draft, isolation_level=None)
        connection.executescript(SCHEMA)
        connection.close()
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    except (OSError, sqlite3.Error) as error:
        raise BrokerError(f"the log {path} cannot be created: {error}; name another file") from error


def _open(path: Path) -> sqlite3.Connection:
    with _explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY, isolation_level=None
        )
        header = [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        ]
        if header != [APPLICATION, FORMAT]:
            raise sqlite3.DatabaseError("file is not a log of this version of Driftline")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into a `BrokerError`."""
    try:
        yield
    except sqlite3.Error as error:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "name another file")
        raise BrokerError(f"the log {path} cannot be used: {error}; {advice}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise

"""The SQLite file of the embedded log: its schema, and how it is created, opened and queried."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from flows.core.stream.broker import TopicPartition
from flows.errors import BrokerError, UnknownPartition, UnknownTopic
from flows.host.state_dir import make_private

_Found = TypeVar("_Found")

APPLICATION = 0x44524654  # "DRFT" in the file header distinguishes a log from other SQLite files
FORMAT = 2
BUSY = 30.0  # seconds that a writer waits for other writers

SCHEMA = f"""
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- ids are not reused: a reader of a deleted topic must fail
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE batches (
    partition_id INTEGER NOT NULL,
    last INTEGER NOT NULL, -- the offset of its last record
    first INTEGER NOT NULL,
    newest INTEGER NOT NULL, -- the largest timestamp in it
    records BLOB NOT NULL,
    PRIMARY KEY (partition_id, last)
);
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


def create_log(path: Path) -> None:
    """Create an empty log under a temporary name and link it to `path`, so that no reader sees half a log.

    A log that another process created meanwhile stays. Raises `BrokerError`.
    """
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


def open_log(path: Path) -> sqlite3.Connection:
    """Return a connection to the log at `path`; raises `BrokerError`."""
    with explained(path):
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
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into `BrokerError`."""
    try:
        yield
    except sqlite3.Error as error:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "name another file")
        raise BrokerError(f"the log {path} cannot be used: {error}; {advice}") from error


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    """Run the block in a transaction of this kind ("IMMEDIATE" or "DEFERRED"); roll back if it raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def partition_ends(connection: sqlite3.Connection) -> dict[str, list[tuple[int, int]]]:
    """Return the id and the end offset of each topic's partitions, in the order of their numbers."""
    ends: dict[str, list[tuple[int, int]]] = {}
    rows: Iterable[tuple[str, int, int]] = connection.execute(
        "SELECT topic, id, next FROM partitions ORDER BY topic, partition"
    )
    for topic, id_, end in rows:
        ends.setdefault(topic, []).append((id_, end))
    return ends


def partition_ids(connection: sqlite3.Connection) -> dict[str, list[int]]:
    """Return the ids of each topic's partitions, in the order of their numbers."""
    return {topic: [id_ for id_, _ in ends] for topic, ends in partition_ends(connection).items()}


def at_place(found: Mapping[str, Sequence[_Found]], partition: TopicPartition) -> _Found:
    """Return what was found of a partition; raises `UnknownTopic` or `UnknownPartition`.

    `found` is what `partition_ids` or `partition_ends` returned.
    """
    topic, number = partition
    if topic not in found:
        raise UnknownTopic(topic)
    if not 0 <= number < len(found[topic]):
        raise UnknownPartition(topic, number, len(found[topic]))
    return found[topic][number]


def bounds(connection: sqlite3.Connection, id_: int) -> tuple[int, int]:
    """Return the first offset of a partition and the one after its last."""
    first, end = connection.execute(
        "SELECT (SELECT first FROM batches WHERE partition_id = id ORDER BY last LIMIT 1), next"
        " FROM partitions WHERE id = ?",
        (id_,),
    ).fetchone()
    return end if first is None else first, end

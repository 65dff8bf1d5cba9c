"""Promises of the embedded log only: atomic batches, one file, several processes."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.sqlite.log import LogBroker
from flows.adapters.sqlite.log_batch import BYTES, RECORDS
from flows.adapters.sqlite.log_consumer import LogConsumer
from flows.core.stream.broker import Outgoing, Record, TopicPartition, TopicSpec
from flows.errors import BrokerError, DeliveryError, UnknownTopic

A, B = TopicPartition("a", 0), TopicPartition("b", 0)

WRITER = """
import sys
from pathlib import Path
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing
path, size, batches = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
producer = LogBroker(path).producer()
for batch in range(batches):
    producer.send([Outgoing(topic, b"%d" % batch) for _ in range(size) for topic in "ab"])
"""

HUGE_WRITER = """
import sys
from pathlib import Path
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing
LogBroker(Path(sys.argv[1])).producer().send([Outgoing(t, b"x" * 600) for t in "ab" for _ in range(200_000)])
"""

CREATOR = """
import sys
from pathlib import Path
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import TopicSpec
LogBroker(Path(sys.argv[1])).create_topics([TopicSpec("a"), TopicSpec(sys.argv[2])])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    LogBroker(path).create_topics([TopicSpec("a"), TopicSpec("b")])
    return path


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])


def read_all(path: Path) -> list[Record]:
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    records: list[Record] = []
    while batch := consumer.poll(10_000, 0):
        records += batch
    return records


def test_a_reader_never_sees_a_send_in_part(path: Path) -> None:
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    writer = start(WRITER, path, 50, 200)
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + 60
    while seen.total() < 2 * 50 * 200:
        assert time.monotonic() < deadline
        seen.update(record.topic for record in consumer.poll(1_000_000, 0.01))
        assert seen["a"] == seen["b"]
        assert seen["a"] % 50 == 0
        assert not consumer.has_backlog(A)
        assert not consumer.has_backlog(B)
    assert writer.wait(30) == 0


def test_a_poll_that_its_limit_cut_knows_the_backlog_of_the_same_moment(path: Path) -> None:
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    LogBroker(path).producer().send([Outgoing(topic, b"") for topic in "ab" for _ in range(10)])
    first = consumer.poll(1, 1.0)
    assert [consumer.has_backlog(partition) for partition in (A, B)] == [True, True]
    rest = consumer.poll(19, 0)
    assert Counter(record.topic for record in first + rest) == {"a": 10, "b": 10}
    assert [consumer.has_backlog(partition) for partition in (A, B)] == [False, False]


def test_a_poll_may_end_within_a_batch(path: Path) -> None:
    LogBroker(path).producer().send([Outgoing("a", b"%d" % number) for number in range(RECORDS + 10)])
    consumer = LogBroker(path).consumer("g", {A: 0})
    polls = [consumer.poll(limit, 0) for limit in (3, RECORDS, 1000)]
    assert list(map(len, polls)) == [3, RECORDS, 7]
    records = [record for poll in polls for record in poll]
    assert [(record.offset, record.value) for record in records] == [
        (number, b"%d" % number) for number in range(RECORDS + 10)
    ]


def test_large_records_come_in_several_polls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.adapters.sqlite.log_consumer.POLL_BYTES", 3 * BYTES)
    LogBroker(path).producer().send([Outgoing("a", bytes(BYTES // 2))] * 10)
    consumer = LogBroker(path).consumer("g", {A: 0})
    assert [len(consumer.poll(1000, 0)) for _ in range(3)] == [6, 4, 0]


def test_an_offset_is_found_by_time_within_a_batch(path: Path) -> None:
    broker = LogBroker(path)
    for times in ([5, 3, 8], [6, 9]):
        broker.producer().send([Outgoing("a", b"", timestamp=time) for time in times])
    assert [broker.offset_at(A, time) for time in (0, 6, 8, 9, 10)] == [0, 2, 2, 4, 5]


def test_records_are_written_to_the_partition_that_a_write_names(path: Path) -> None:
    broker = LogBroker(path)
    broker.create_topics([TopicSpec("wide", 4)])
    producer = broker.producer()
    producer.write([Outgoing("wide", b"", key=b"k"), Outgoing("wide", b"", partition=0)], 2)
    producer.flush()
    assert producer.outstanding() == 0
    assert broker.offsets("wide") == [(0, 0), (0, 0), (0, 2), (0, 0)]


def test_the_ends_of_several_topics_are_read_at_once(path: Path) -> None:
    broker = LogBroker(path)
    broker.producer().send([Outgoing("a", b"")])
    assert broker.ends(["a", "b"]) == {A: 1, B: 0}
    with pytest.raises(UnknownTopic, match="'c'"):
        broker.ends(["a", "c"])


def test_a_small_limit_starves_no_partition(path: Path) -> None:
    LogBroker(path).producer().send([Outgoing(topic, b"") for topic in "ab" for _ in range(10)])
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    assert {record.topic for _ in range(4) for record in consumer.poll(1, 0)} == {"a", "b"}


def test_what_is_written_during_a_poll_comes_whole_with_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = LogBroker(path).producer()
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    read_partition = LogConsumer._read_partition

    def read_while_others_write(*arguments: Any) -> list[Record]:
        producer.send([Outgoing(topic, b"later") for topic in "ab"])
        return read_partition(*arguments)

    producer.send([Outgoing(topic, b"first") for topic in "ab"])
    monkeypatch.setattr(LogConsumer, "_read_partition", read_while_others_write)
    assert [record.value for record in consumer.poll(1000, 0)] == [b"first"] * 2
    assert Counter(record.topic for record in consumer.poll(1000, 0)) == {"a": 2, "b": 2}


def test_a_killed_writer_leaves_no_half_batch(path: Path) -> None:
    broker = LogBroker(path)
    broker.producer().send([Outgoing(topic, b"whole") for topic in "ab"])
    journal = path.with_name("log.db-wal")
    writer = start(HUGE_WRITER, path)
    deadline = time.monotonic() + 60
    while journal.stat().st_size < 4_000_000:
        assert time.monotonic() < deadline
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    assert broker.offsets("a") == broker.offsets("b") == [(0, 1)]
    assert [record.value for record in read_all(path)] == [b"whole"] * 2
    assert broker.producer().send([Outgoing("a", b"next")]) == {A: 2}


def test_processes_that_create_the_log_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.db"
    topics = [f"topic-{number}" for number in range(6)]
    creators = [start(CREATOR, path, topic) for topic in topics]
    assert [creator.wait(60) for creator in creators] == [0] * 6
    assert LogBroker(path).topics() == dict.fromkeys(["a", *topics], 1)
    assert {file.name.removeprefix("log.db") for file in path.parent.iterdir()} <= {"", "-wal", "-shm"}


def test_records_without_a_key_go_round_the_partitions(path: Path) -> None:
    broker = LogBroker(path)
    broker.create_topics([TopicSpec("wide", 4)])
    broker.producer().send([Outgoing("wide", b"") for _ in range(40)])
    assert broker.offsets("wide") == [(0, 10)] * 4


def test_a_topic_deleted_under_its_reader_is_a_loud_error(path: Path) -> None:
    broker = LogBroker(path)
    consumer = broker.consumer("g", {A: 0})
    assert consumer.poll(10, 0) == []
    broker.delete_topics(["a"])
    broker.create_topics([TopicSpec("another")])
    with pytest.raises(UnknownTopic, match="'a'"):
        consumer.poll(10, 1.0)


def test_a_producer_notices_that_a_topic_was_made_anew(path: Path) -> None:
    broker = LogBroker(path)
    producer = broker.producer()
    producer.send([Outgoing("a", b"old")])
    broker.delete_topics(["a"])
    broker.create_topics([TopicSpec("another"), TopicSpec("a", 2)])
    assert producer.send([Outgoing("a", b"new", partition=1)]) == {TopicPartition("a", 1): 1}
    assert broker.offsets("another") == [(0, 0)]


def test_a_locked_log_refuses_the_batch_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.adapters.sqlite.log_file.BUSY", 0.05)
    producer = LogBroker(path).producer()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DeliveryError, match=r"log\.db did not accept 1 records: database is locked"):
        producer.send([Outgoing("a", b"")])
    other.execute("ROLLBACK")
    assert producer.send([Outgoing("a", b"")]) == {A: 1}


def test_a_locked_log_does_not_make_showing_offsets_fail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.adapters.sqlite.log_file.BUSY", 0.05)
    broker = LogBroker(path)
    consumer = broker.consumer("g", {A: 0})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    consumer.commit({A: 1})
    other.execute("ROLLBACK")
    assert broker.committed("g", "a") == {}
    consumer.commit({A: 1})
    assert broker.committed("g", "a") == {0: 1}


@pytest.mark.parametrize("content", [b"not a database" * 100, b""])
def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(content)
    with pytest.raises(BrokerError, match=r"other\.db cannot be used: file is not a .*name another file"):
        LogBroker(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sqlite3.connect(path).execute("CREATE TABLE theirs (x)").connection.close()
    with pytest.raises(BrokerError, match="not a log of this version of Driftline"):
        LogBroker(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerError, match=r"file/log\.db cannot be created"):
        LogBroker(tmp_path / "file" / "log.db")


def test_waiting_for_records_costs_little_of_the_processor(path: Path) -> None:
    consumer = LogBroker(path).consumer("g", {A: 0, B: 0})
    begin = time.process_time()
    assert consumer.poll(1000, 1.0) == []
    assert time.process_time() - begin < 0.05

"""Readers of the embedded log that writers wake."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.sqlite.log import LogBroker
from flows.adapters.sqlite.log_consumer import LogConsumer
from flows.adapters.sqlite.log_waiters import Waiter, wait_for
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec

A, B = TopicPartition("a", 0), TopicPartition("b", 0)
FOREVER = 60.0  # seconds

WRITER = """
import sys
from pathlib import Path
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing
producer = LogBroker(Path(sys.argv[1])).producer()
sys.stdin.read()
producer.send([Outgoing("a", b"")])
"""

READER = """
import sys
from pathlib import Path
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import TopicPartition
consumer = LogBroker(Path(sys.argv[1])).consumer("g", {TopicPartition("a", 0): 0})
print("waits", flush=True)
consumer.poll(1, 600.0)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LogBroker]:
    with closing(LogBroker(tmp_path / "log.db")) as broker:
        broker.create_topics([TopicSpec("a"), TopicSpec("b")])
        yield broker


@pytest.fixture
def reader(broker: LogBroker) -> Iterator[LogConsumer]:
    with closing(broker.consumer("g", {A: 0})) as reader:
        yield reader


def start(script: str, *arguments: object, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], **pipes)


def is_woken(waiter: Waiter) -> bool:
    return bool(select.select([waiter.pipe], [], [], 0)[0])


def pipes(folder: Path) -> list[str]:
    return [file.name for file in (folder / "log.db-waiters").iterdir()]


def test_a_writer_in_another_process_wakes_the_reader_of_its_partition(
    tmp_path: Path, broker: LogBroker, reader: LogConsumer
) -> None:
    other = broker.consumer("g", {B: 0})
    writer = start(WRITER, tmp_path / "log.db", stdin=subprocess.PIPE)
    assert reader.poll(1, 0) == []
    assert writer.stdin
    writer.stdin.close()
    begin = time.monotonic()
    broker.wait([other, reader], FOREVER)
    assert time.monotonic() - begin < FOREVER
    assert len(reader.poll(1, 0)) == 1
    assert not is_woken(other.waiter)
    assert writer.wait(30) == 0


def test_what_is_written_between_a_poll_and_the_wait_ends_the_wait(
    broker: LogBroker, reader: LogConsumer
) -> None:
    assert reader.poll(1, 0) == []
    broker.producer().send([Outgoing("a", b"")])
    begin = time.monotonic()
    broker.wait([reader], FOREVER)
    assert time.monotonic() - begin < FOREVER


def test_a_reader_that_has_not_read_all_does_not_wait(broker: LogBroker, reader: LogConsumer) -> None:
    broker.producer().send([Outgoing("a", b"")] * 3)
    assert len(reader.poll(1, FOREVER)) == 1
    wait_for([reader.waiter], FOREVER)
    begin = time.monotonic()
    broker.wait([reader], FOREVER)
    assert time.monotonic() - begin < FOREVER


def test_a_write_without_a_reader_wakes_nobody(broker: LogBroker, reader: LogConsumer) -> None:
    broker.producer().send([Outgoing("b", b"")])
    assert not is_woken(reader.waiter)
    broker.producer().send([Outgoing("a", b"")])
    assert is_woken(reader.waiter)


def test_a_wait_uses_up_all_that_woke_it(broker: LogBroker, reader: LogConsumer) -> None:
    producer = broker.producer()
    for _ in range(3):
        producer.send([Outgoing("a", b"")])
    wait_for([reader.waiter], FOREVER)
    assert not is_woken(reader.waiter)


def test_a_reader_that_never_looks_does_not_stop_a_writer(broker: LogBroker, reader: LogConsumer) -> None:
    assert reader.waiter.pipe is not None
    with suppress(BlockingIOError):
        while True:
            os.write(reader.waiter.pipe, bytes(4096))
    broker.producer().send([Outgoing("a", b"")])
    wait_for([reader.waiter], FOREVER)
    assert not is_woken(reader.waiter)


def test_the_pipe_of_a_killed_reader_is_removed_by_the_next_writer(tmp_path: Path, broker: LogBroker) -> None:
    killed = start(READER, tmp_path / "log.db", stdout=subprocess.PIPE)
    assert killed.stdout
    assert killed.stdout.readline() == b"waits\n"
    assert len(pipes(tmp_path)) == 1
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    broker.producer().send([Outgoing("a", b"")])
    assert pipes(tmp_path) == []


def test_a_closed_reader_leaves_no_pipe(tmp_path: Path, broker: LogBroker) -> None:
    reader = broker.consumer("g", {A: 0, B: 0})
    assert len(pipes(tmp_path)) == 2
    reader.close()
    assert pipes(tmp_path) == []


def test_where_pipes_cannot_be_made_a_reader_looks_often(
    broker: LogBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.mkfifo", refused)
    with closing(broker.consumer("g", {A: 0})) as reader:
        begin = time.monotonic()
        broker.wait([reader], FOREVER)
        broker.producer().send([Outgoing("a", b"")])
        assert len(reader.poll(1, FOREVER)) == 1
        assert time.monotonic() - begin < FOREVER


@pytest.mark.usefixtures("reader")
def test_only_their_owner_can_wake_the_readers(tmp_path: Path) -> None:
    folder = tmp_path / "log.db-waiters"
    modes = [file.stat().st_mode & 0o777 for file in (folder, *folder.iterdir())]
    assert modes == [0o700, 0o600]

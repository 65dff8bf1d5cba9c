"""The follower of `driftline serve`: it reads at once while it is asked, and seldom while nobody asks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from harness import wait_until

from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, TopicSpec
from flows.serve import follower
from flows.serve.follower import TopicFollower

NEVER = 3600.0  # seconds


class Followed:
    def __init__(self, log: Path) -> None:
        self.broker = LogBroker(log)
        self.broker.create_topics([TopicSpec("t", 1)])
        self.taken: list[bytes | None] = []
        self.follower = TopicFollower(lambda: LogBroker(log), self._starts, {"t": self._take})

    def send(self, value: bytes) -> None:
        producer = self.broker.producer()
        producer.send([Outgoing("t", value)])
        producer.close()

    def _starts(self, broker: Broker) -> dict[TopicPartition, int]:
        return {TopicPartition("t", 0): 0}

    def _take(self, records: Sequence[Record]) -> None:
        self.taken += [record.value for record in records]


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    found = Followed(tmp_path / "log.db")
    yield found
    found.follower.stop()
    found.broker.close()


def test_what_came_while_nobody_asked_is_read_before_a_request_is_answered(followed, monkeypatch):
    monkeypatch.setattr(follower, "PAUSE", NEVER)
    followed.follower.start()
    wait_until(lambda: followed.follower.is_caught_up)
    followed.send(b"1")
    assert not followed.follower.is_close
    followed.follower.ask()
    assert followed.follower.await_close()
    assert followed.taken == [b"1"]


def test_a_record_is_read_at_once_after_a_request(followed, monkeypatch):
    monkeypatch.setattr(follower, "PAUSE", NEVER)
    followed.follower.ask()
    followed.follower.start()
    for number in range(3):
        followed.send(b"%d" % number)
        wait_until(lambda: len(followed.taken) == number + 1)  # noqa: B023


def test_it_follows_closely_no_longer_when_nobody_has_asked_for_a_while(followed, monkeypatch):
    monkeypatch.setattr(follower, "CLOSELY", 0.0)
    followed.follower.ask()
    followed.follower.start()
    wait_until(lambda: followed.follower.is_caught_up)
    wait_until(lambda: not followed.follower.is_close)
    followed.send(b"1")
    wait_until(lambda: followed.taken == [b"1"])  # after a pause


def test_a_backlog_is_read_without_pauses(followed, monkeypatch):
    monkeypatch.setattr(follower, "PAUSE", NEVER)
    monkeypatch.setattr(follower, "_MOST", 2)
    for number in range(7):
        followed.send(b"%d" % number)
    followed.follower.start()
    wait_until(lambda: len(followed.taken) == 7)

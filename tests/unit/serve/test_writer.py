"""The writer of the server: several requests at once, a limit, and failures that each request is told."""

import threading
from typing import Any

import pytest

from flows.core.stream.broker import Outgoing
from flows.errors import BrokerAway, ConfigError, RecordTooLarge, Unacknowledged
from flows.serve.problems import Problem
from flows.serve.writer import MOST_WAITING, Writer, explained


class HeldBroker:
    """Takes records while it is open; fails with the errors given, one for each write."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sent: list[list[bytes | None]] = []
        self.opened = 0
        self.is_open = threading.Event()

    def open(self) -> Any:
        self.opened += 1
        return self

    def producer(self) -> Any:
        return self

    def write(self, records: list[Outgoing]) -> None:
        assert self.is_open.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append([record.value for record in records])

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def records(*values: bytes) -> list[Outgoing]:
    return [Outgoing("t", value) for value in values]


def test_what_waits_is_written_at_once_in_its_order():
    broker = HeldBroker()
    writer = Writer(broker.open)
    done = [writer.submit(records(b"a")), writer.submit(records(b"b", b"c"))]
    broker.is_open.set()
    writer.start()
    assert [each.result(10) for each in done] == [None, None]
    writer.stop()
    assert broker.sent == [[b"a", b"b", b"c"]]


def test_too_many_records_are_refused_until_some_are_written():
    broker = HeldBroker()
    writer = Writer(broker.open)
    writer.start()
    first = writer.submit(records(*[b"x"] * MOST_WAITING))
    with pytest.raises(Problem) as refused:
        writer.submit(records(b"y"))
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    broker.is_open.set()
    first.result(10)
    writer.submit(records(b"y")).result(10)
    writer.stop()


def test_a_failure_reaches_its_request_and_the_next_one_is_written_with_a_new_connection():
    broker = HeldBroker(Unacknowledged("no answer"))
    broker.is_open.set()
    writer = Writer(broker.open)
    writer.start()
    assert isinstance(writer.submit(records(b"a")).exception(10), Unacknowledged)
    assert writer.submit(records(b"b")).result(10) is None
    writer.stop()
    assert (broker.opened, broker.sent) == (2, [[b"b"]])


def test_a_broker_that_fails_is_a_503_that_asks_to_send_again():
    unknown, away = explained(Unacknowledged("no answer")), explained(BrokerAway("away"))
    assert isinstance(unknown, Problem)
    assert isinstance(away, Problem)
    assert (unknown.status, away.status) == (503, 503)
    assert "may or may not be on the topic" in str(unknown)
    assert "may or may not" not in str(away)
    for other in (RecordTooLarge("too large"), ConfigError("x")):
        assert explained(other) is other

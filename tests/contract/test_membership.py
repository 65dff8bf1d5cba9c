"""One engine runs a flow on a Kafka: another is refused, and a successor does not wait."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from harness import wait_until

from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.kafka.membership import Membership, await_member, holders
from flows.core.stream.broker import TopicSpec
from flows.errors import EngineConflict

HOLD = """
import os, sys
from flows.adapters.kafka import membership
from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.kafka.membership import Membership
membership._SETTINGS["session.timeout.ms"] = 6000  # the least that Kafka allows
servers, group, topic, engine = sys.argv[1:]
with Membership(KafkaBroker(servers, {}), group, topic, engine, lambda reason: os._exit(1)):
    print("held", flush=True)
    sys.stdin.read()
"""


class Group:
    """A group of its own on the Kafka."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.name = self.topic = f"group-{uuid4().hex}"
        self.broker = KafkaBroker(servers, {})
        self.broker.create_topics([TopicSpec(self.topic, 3)])

    def member(self, engine: str, on_loss: Callable[[str], None] = pytest.fail) -> Membership:
        return Membership(KafkaBroker(self.servers, {}), self.name, self.topic, engine, on_loss)

    @contextmanager
    def process(self, engine: str) -> Iterator[subprocess.Popen[str]]:
        """A process that holds the place, once the block begins."""
        command = [sys.executable, "-c", HOLD, self.servers, self.name, self.topic, engine]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "held\n"
                yield process
            finally:
                process.kill()

    def engines(self) -> list[str]:
        return [holder.engine for holder in holders(self.broker, self.name)]


@pytest.fixture
def group(kafka: str) -> Group:
    return Group(kafka)


def test_a_second_engine_refuses_and_says_where_the_first_is(group: Group) -> None:
    with group.member("first"):
        with pytest.raises(EngineConflict, match=r"on \S+ \(127\.0\.0\.1\), with another state directory"):
            group.member("another").__enter__()
        assert group.engines() == ["first"]


def test_an_engine_that_stopped_leaves_its_place_to_any_other_at_once(group: Group) -> None:
    with group.member("first"):
        pass
    with group.member("second"):
        assert group.engines() == ["second"]


def test_a_killed_engine_takes_its_place_again_at_once_and_no_other_does(group: Group) -> None:
    with group.process("first") as process:
        process.kill()
    with pytest.raises(EngineConflict):
        group.member("second").__enter__()
    with group.member("first"):
        assert group.engines() == ["first"]


def test_the_elder_of_two_copies_of_an_engine_is_told_that_it_lost(group: Group) -> None:
    told: list[str] = []
    with group.member("one", told.append), group.member("one"):
        wait_until(lambda: bool(told))
    assert "with the same state directory or a copy of it" in told[0]


def test_of_engines_that_start_at_once_exactly_one_stays(group: Group) -> None:
    begin, end = Barrier(3), Barrier(3)
    lost: list[str] = []

    def run(engine: str) -> None:
        begin.wait()
        try:
            with group.member(engine, lambda _: lost.append(engine)):
                end.wait()
        except EngineConflict:
            lost.append(engine)
            end.wait()

    threads = [Thread(target=run, args=(engine,), daemon=True) for engine in ("a", "b")]
    for thread in threads:
        thread.start()
    begin.wait()
    wait_until(lambda: len(lost) == 1)
    end.wait()
    for thread in threads:
        thread.join()
    assert len(lost) == 1
    assert group.engines() == []


def test_further_processes_know_the_first_by_its_state(group: Group) -> None:
    with group.member("own"):
        await_member(group.broker, group.name, "own")
        with pytest.raises(
            EngineConflict, match=r"the first process runs on .* with another state directory"
        ):
            await_member(group.broker, group.name, "foreign")


def test_an_engine_that_was_away_takes_its_place_again_unless_another_has_taken_it(kafka: str) -> None:
    free, taken = Group(kafka), Group(kafka)
    lost: list[str] = []
    with free.process("first") as one, taken.process("first") as other:
        for process in (one, other):
            process.send_signal(signal.SIGSTOP)
        wait_until(lambda: free.engines() == taken.engines() == [])
        with taken.member("second", lost.append):
            for process in (one, other):
                process.send_signal(signal.SIGCONT)
            wait_until(lambda: free.engines() == ["first"])
            wait_until(lambda: bool(lost) or other.poll() is not None)
        assert one.poll() is None
        assert (other.poll() is None) == bool(lost)

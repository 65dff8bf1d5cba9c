"""A producer in an outage: it reads which records are on the topics, and resends the missing ones."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec, read_range
from flows.errors import BrokerAway, DeliveryError, DriftlineError, Unacknowledged
from flows.host import patience
from flows.host.patience import Patience
from flows.jobs.publishing import steady_producer
from flows.jobs.publishing.steady_producer import SteadyProducer


class Outages(LogBroker):
    """The log, behind connections that are lost: a send then writes only some records of each partition.

    After a loss the broker is away for `away` questions.
    """

    def __init__(self, path: Path, losses: int, away: int = 0) -> None:
        super().__init__(path)
        self.create_topics([TopicSpec("sales", 3), TopicSpec("visits")])
        self.random = Random(5)
        self.losses, self.length, self.away = losses, away, 0
        self.producers = 0

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        if self.away:
            self.away -= 1
            raise BrokerAway("nobody answers")
        return super().offsets(topic)

    def producer(self) -> Any:
        self.producers += 1
        return _Lossy(self, super().producer())


class _Lossy:
    def __init__(self, broker: Outages, real: Any) -> None:
        self._broker, self._real = broker, real
        self.close = real.close

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        if not self._broker.losses:
            return self._real.send(records)
        self._broker.losses -= 1
        self._broker.away = self._broker.length
        stops = {place: self._broker.random.randint(0, 4) for place in range(4)}
        taken = []
        for record in records:  # as of an idempotent producer, the first so many of each partition
            place = 3 if record.topic == "visits" else record.partition or 0
            stops[place] -= 1
            if stops[place] >= 0:
                taken.append(record)
        if taken:
            self._real.send(taken)
        raise Unacknowledged("the connection was lost")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_producer, "_RETRY", 0.0)


def batches() -> Iterator[list[Outgoing]]:
    """Records of several topics and partitions, some of which are equal to others."""
    for number in range(30):
        yield [
            Outgoing(topic, b"%d" % ((number + n) // 3), b"%d" % partition, partition, timestamp=n)
            for n in range(8)
            for topic, partition in (("sales", n % 3), ("visits", 0))
        ]


def log_of(broker: LogBroker) -> dict[TopicPartition, list[bytes | None]]:
    return {
        partition: [r.value for batch in read_range(broker, partition, first, end) for r in batch]
        for topic in broker.topics()
        for number, (first, end) in enumerate(LogBroker.offsets(broker, topic))  # never away
        for partition in (TopicPartition(topic, number),)
    }


@pytest.mark.parametrize(("losses", "away"), [(0, 0), (1, 0), (25, 0), (25, 3)])
def test_after_lost_connections_each_record_is_in_the_log_once_and_in_order(
    tmp_path: Path, losses: int, away: int
) -> None:
    broker = Outages(tmp_path / "log.db", losses, away)
    with closing(SteadyProducer(broker, ["sales", "visits"], Patience(print))) as producer:
        for records in batches():
            ends = producer.send(records)
            broker.away = 0
            assert ends == {partition: len(values) for partition, values in log_of(broker).items()}
    assert broker.producers == 1 + losses
    assert log_of(broker) == {
        partition: [r.value for batch in batches() for r in batch if (r.topic, r.partition) == partition]
        for partition in log_of(broker)
    }


def test_a_record_that_is_refused_is_not_sent_again(tmp_path: Path) -> None:
    broker = Outages(tmp_path / "log.db", 0)
    producer = SteadyProducer(broker, ["sales"], Patience(print))

    def refuse(_: object) -> None:
        raise DeliveryError("too large")

    producer._producer.send = refuse  # type: ignore[method-assign,assignment]
    with pytest.raises(DeliveryError, match="too large"):
        producer.send([Outgoing("sales", b"1")])


def test_an_outage_is_told_once_and_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SAID_AFTER", 0.0)
    monkeypatch.setattr(steady_producer, "_AWAY", 0.05)
    broker, said = Outages(tmp_path / "log.db", 1, away=10**9), list[str]()
    producer = SteadyProducer(broker, ["sales"], Patience(said.append))
    with pytest.raises(DriftlineError, match="no progress for 0 s: nobody answers"):
        producer.send([Outgoing("sales", b"1")])
    assert said == ["waiting: nobody answers"]

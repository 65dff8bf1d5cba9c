"""One slot of the sink: acknowledgements, epochs and what a resume skips."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.bytewax.idle import SHORT, Idle
from flows.adapters.bytewax.sink import SlotOutput, SlotSink, TopicSink
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec
from flows.errors import BrokerAway, DeliveryError
from flows.runtime.telemetry import Telemetry

PLACE = TopicPartition("out", 0)


class SlowBroker:
    """A broker whose only producer acknowledges when it is told to; it ends at the number of records."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.partitions: set[int | None] = set()
        self.sent = self.acknowledged = 0
        self.is_away = False
        self.failure: DeliveryError | None = None

    def write(self, records: Sequence[Outgoing], partition: int | None = None) -> None:
        self.sent += len(records)
        self.partitions.add(partition)

    def outstanding(self, timeout: float = 0.0) -> int:
        if self.failure:
            raise self.failure
        self.calls.append("send" if timeout else "look")
        return self.sent - self.acknowledged

    def flush(self) -> None:
        self.calls.append("flush")
        self.acknowledged = self.sent

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        self.calls.append("ends")
        if self.is_away:
            raise BrokerAway("away")
        return {PLACE: self.acknowledged}

    def close(self) -> None: ...


class Written(Telemetry):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Outgoing] = []

    def written(self, records: Sequence[Outgoing]) -> None:  # type: ignore[override]
        self.records += records


@pytest.fixture
def broker() -> SlowBroker:
    return SlowBroker()


def slot(broker: Any, observer: Telemetry, number: int = 0) -> SlotSink:
    return SlotSink(number, SlotOutput(broker, broker, {PLACE: 0}), set(), observer, Idle(SHORT).of_worker())


def record(number: int) -> Outgoing:
    return Outgoing("out", b"%d" % number, headers=(("id", b"%d" % number),))


def test_a_batch_is_written_to_the_slots_partition_and_not_waited_for(broker: SlowBroker) -> None:
    observer = Written()
    sink = slot(broker, observer, number=7)
    sink.write_batch([[record(1)], [record(2), record(3)]])
    assert (broker.sent, broker.partitions, broker.calls) == (3, {7}, [])
    assert observer.records == []


def test_an_epoch_ends_when_all_is_acknowledged_and_its_state_is_where_the_log_ends_then(
    broker: SlowBroker,
) -> None:
    observer = Written()
    sink = slot(broker, observer)
    sink.write_batch([[record(1), record(2)]])
    assert sink.snapshot() == {"out/0": 2}
    assert broker.calls.index("flush") < broker.calls.index("ends")
    assert observer.records == [record(1), record(2)]


def test_a_broker_that_is_away_at_the_end_of_an_epoch_leaves_the_offset_of_an_earlier_one(
    broker: SlowBroker,
) -> None:
    sink = slot(broker, Written())
    sink.write_batch([[record(1)]])
    assert sink.snapshot() == {"out/0": 1}
    broker.is_away = True
    sink.write_batch([[record(2)]])
    assert sink.snapshot() == {"out/0": 1}


def test_a_batch_is_reported_when_as_many_records_are_acknowledged(broker: SlowBroker) -> None:
    observer = Written()
    sink = slot(broker, observer)
    sink.write_batch([[record(1), record(2)]])
    broker.acknowledged = 1
    sink.write_batch([[record(3)]])
    assert observer.records == []
    broker.acknowledged = 2
    assert sink.is_unfinished()
    assert observer.records == [record(1), record(2)]
    broker.acknowledged = 3
    assert not sink.is_unfinished()
    assert observer.records == [record(1), record(2), record(3)]


def test_an_idle_flow_sends_what_it_has_written_once(broker: SlowBroker) -> None:
    sink = slot(broker, Written())
    sink.write_batch([[record(1)]])
    assert [sink.is_unfinished() for _ in range(3)] == [True] * 3
    assert broker.calls == ["send", "look", "look"]


def test_a_record_that_failed_ends_the_flow_at_the_next_batch(broker: SlowBroker) -> None:
    sink = slot(broker, Written())
    sink.write_batch([[record(1)]])
    broker.failure = DeliveryError("refused")
    with pytest.raises(DeliveryError, match="refused"):
        sink.write_batch([[record(2)]])
    assert broker.sent == 1


@pytest.fixture
def open_log(tmp_path: Path) -> Callable[[], LogBroker]:
    """Open a log whose topic `out` has the records 1 to 3."""

    def opened() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(opened()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec("out")])
        producer.send([record(1), record(2), record(3)])
    return opened


def test_the_stored_offset_stays_before_records_that_were_written_before_the_restart_and_come_again_later(
    open_log: Callable[[], LogBroker],
) -> None:
    """Otherwise a second crash would write them twice."""
    sink = TopicSink(open_log, ["out"], 1, Telemetry(), Idle(SHORT))
    with closing(sink.build_part("publish", "0", {"out/0": 0})) as part:
        part.write_batch([[record(1)]])
        state = part.snapshot()
        assert state == {"out/0": 0}
    with closing(sink.build_part("publish", "0", state)) as part:
        part.write_batch([[record(2), record(3), record(4)]])
        assert part.snapshot() == {"out/0": 4}


def test_what_stands_behind_the_stored_offset_is_not_written_again_but_a_later_copy_is(
    open_log: Callable[[], LogBroker],
) -> None:
    with closing(open_log()) as log:
        sink = TopicSink(open_log, ["out"], 1, Telemetry(), Idle(SHORT))
        with closing(sink.build_part("publish", "0", {"out/0": 1})) as part:
            part.write_batch([[record(2), record(3), record(4)], [record(1), record(2)]])
            assert part.snapshot() == {"out/0": 6}
        consumer = log.consumer("g", {PLACE: 3})
        assert [r.value for r in consumer.poll(10, 0.0)] == [b"4", b"1", b"2"]

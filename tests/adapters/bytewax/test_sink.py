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
from flows.errors import DeliveryError
from flows.runtime.telemetry import Telemetry

PLACE = TopicPartition("out", 0)


class SlowBroker:
    """A producer that acknowledges when it is told to, and its broker, which must not be asked anything."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.partitions: set[int | None] = set()
        self.sent = self.acknowledged = 0
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
    output = SlotOutput(broker, broker, (), {PLACE: 5})
    return SlotSink(number, output, {}, observer, Idle(SHORT).of_worker())


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
    assert sink.snapshot() == ({"out/0": 5}, [])
    sink.write_batch([[record(1), record(2)]])
    assert sink.snapshot() == ({"out/0": 7}, [])
    assert observer.records == [record(1), record(2)]
    sink.write_batch([[record(3)]])
    assert sink.snapshot() == ({"out/0": 8}, [])
    assert broker.acknowledged == 3


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


def test_a_record_of_before_two_crashes_that_comes_again_after_a_new_one_is_not_written_again(
    open_log: Callable[[], LogBroker],
) -> None:
    sink = TopicSink(open_log, ["out"], (), 1, Telemetry(), Idle(SHORT))
    with closing(sink.build_part("publish", "0", ({"out/0": 0}, []))) as part:
        part.write_batch([[record(1), record(9)]])
        state = part.snapshot()
        assert state == ({"out/0": 4}, [("out", b"2"), ("out", b"3")])
    with closing(sink.build_part("publish", "0", state)) as part:
        part.write_batch([[record(2)]])
        assert part.snapshot() == ({"out/0": 4}, [("out", b"3")])
        part.write_batch([[record(3), record(4)]])
        assert part.snapshot() == ({"out/0": 5}, [])
    assert values(open_log) == [b"1", b"2", b"3", b"9", b"4"]


def test_the_state_keeps_the_newest_ids(
    open_log: Callable[[], LogBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.adapters.bytewax.sink._MOST_IDS", 2)
    sink = TopicSink(open_log, ["out"], (), 1, Telemetry(), Idle(SHORT))
    with closing(sink.build_part("publish", "0", ({"out/0": 0}, []))) as part:
        assert part.snapshot() == ({"out/0": 3}, [("out", b"2"), ("out", b"3")])


def values(open_log: Callable[[], LogBroker]) -> list[bytes | None]:
    with closing(open_log()) as log:
        return [each.value for each in log.consumer("g", {PLACE: 0}).poll(10, 0.0)]


def test_what_stands_behind_the_stored_offset_is_not_written_again_but_a_later_copy_is(
    open_log: Callable[[], LogBroker],
) -> None:
    with closing(open_log()) as log:
        sink = TopicSink(open_log, ["out"], (), 1, Telemetry(), Idle(SHORT))
        with closing(sink.build_part("publish", "0", ({"out/0": 1}, []))) as part:
            part.write_batch([[record(2), record(3), record(4)], [record(1), record(2)]])
            assert part.snapshot() == ({"out/0": 6}, [])
        consumer = log.consumer("g", {PLACE: 3})
        assert [r.value for r in consumer.poll(10, 0.0)] == [b"4", b"1", b"2"]


def test_records_of_others_in_the_partition_leave_the_stored_offset_before_those_of_later_epochs(
    open_log: Callable[[], LogBroker],
) -> None:
    sink = TopicSink(open_log, ["out"], (), 1, Telemetry(), Idle(SHORT))
    with closing(open_log()) as log, closing(log.producer()) as other:
        with closing(sink.build_part("publish", "0", ({"out/0": 3}, []))) as part:
            other.send([record(10), record(11)])
            part.write_batch([[record(4)]])
            state = part.snapshot()
            assert state == ({"out/0": 4}, [])
            part.write_batch([[record(5)]])
        with closing(sink.build_part("publish", "0", state)) as part:
            part.write_batch([[record(5), record(6)]])
        consumer = log.consumer("g", {PLACE: 3})
        assert [r.value for r in consumer.poll(10, 0.0)] == [b"10", b"11", b"4", b"5", b"6"]


def test_in_a_topic_whose_keys_are_ids_a_record_is_known_by_its_key(
    open_log: Callable[[], LogBroker],
) -> None:
    with closing(open_log()) as log, closing(log.producer()) as before:
        before.send([Outgoing("out", b"4", b"a"), Outgoing("out", b"5", b"b")])
        sink = TopicSink(open_log, ["out"], ["out"], 1, Telemetry(), Idle(SHORT))
        with closing(sink.build_part("publish", "0", ({"out/0": 3}, []))) as part:
            part.write_batch([[Outgoing("out", b"4", b"a"), Outgoing("out", b"5", b"b")]])
            part.write_batch([[Outgoing("out", b"6", b"c"), Outgoing("out", b"7", b"a")]])
        consumer = log.consumer("g", {PLACE: 3})
        assert [r.value for r in consumer.poll(10, 0.0)] == [b"4", b"5", b"6", b"7"]

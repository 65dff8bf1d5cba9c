"""Bytewax sink over a broker.

A partition of the sink writes what the same-numbered slot produced. Its state is the end offset of each of
its output partitions. On resume it reads the ids behind those offsets, and does not repeat those records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.adapters.bytewax.observer import FlowObserver
from flows.adapters.bytewax.offsets import Offsets, start_offset, to_stored
from flows.adapters.bytewax.routing import slot_of
from flows.core.stream.broker import Broker, Outgoing, Producer, Record, TopicPartition, read_range

RecordId = tuple[str, bytes]  # topic and id


class TopicSink(FixedPartitionedSink[list[Outgoing], Offsets]):
    """Writes the records that the slots produced to `topics`.

    A record with an `id` header is written once: not when a record with that id is already behind the stored
    offset. A record without an id may be repeated after a crash.
    """

    def __init__(
        self, open_broker: Callable[[], Broker], topics: Sequence[str], slots: int, observer: FlowObserver
    ) -> None:
        self._open_broker = open_broker
        self._topics = topics
        self._slots = slots
        self._observer = observer

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._slots)]

    def part_fn(self, item_key: str) -> int:
        return slot_of(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> SlotSink:
        broker = self._open_broker()
        partitions = [TopicPartition(topic, int(for_part)) for topic in self._topics]
        offsets = {p: start_offset(broker, p, resume_state or {}) for p in partitions}
        written = {
            record_id
            for partition, offset in offsets.items()
            for record_id in _ids_since(broker, partition, offset)
        }
        return SlotSink(int(for_part), broker.producer(), offsets, written, self._observer)


class SlotSink(StatefulSinkPartition[list[Outgoing], Offsets]):
    """One slot's output; the broker acknowledges a batch before its epoch can close.

    `written` are the ids of records that were written after the stored state, each to be skipped once.
    """

    def __init__(
        self,
        slot: int,
        producer: Producer,
        offsets: dict[TopicPartition, int],
        written: set[RecordId],
        observer: FlowObserver,
    ) -> None:
        self._slot = slot
        self._producer = producer
        self._offsets = offsets
        self._written = written
        self._observer = observer

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        records = [record._replace(partition=self._slot) for batch in values for record in batch]
        if self._written:
            records = [record for record in records if not self.is_written(record)]
        if records:
            self._offsets.update(self._producer.send(records))
            self._observer.written(records)

    def is_written(self, record: Outgoing) -> bool:
        """Return whether the record was written before the restart, and forget its id."""
        record_id = (record.topic, _id_of(record))
        if record_id not in self._written:
            return False
        self._written.remove(record_id)
        return True

    def snapshot(self) -> Offsets:
        return to_stored(self._offsets)

    def close(self) -> None:
        self._producer.close()


def _ids_since(broker: Broker, partition: TopicPartition, offset: int) -> Iterator[RecordId]:
    """Yield the ids of the records from `offset` on, also of those behind another's open transaction."""
    uncommitted = broker.uncommitted()
    _, end = uncommitted.offsets(partition.topic)[partition.partition]
    for records in read_range(uncommitted, partition, offset, end):
        for record in records:
            if record_id := _id_of(record):
                yield record.topic, record_id


def _id_of(record: Record | Outgoing) -> bytes:
    """Return the value of the `id` header, empty if there is none."""
    for name, value in record.headers:
        if name == "id":
            return value or b""
    return b""

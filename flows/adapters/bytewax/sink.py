"""Bytewax sink over a broker.

A partition of the sink writes what the same-numbered slot produced. Its state is an offset in each of its
output partitions: records of later epochs are behind it. On resume it reads the ids from there on, and does
not repeat those records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.adapters.bytewax.idle import Idle, WorkerIdle
from flows.adapters.bytewax.observer import FlowObserver
from flows.adapters.bytewax.offsets import Offsets, start_offset, to_stored
from flows.adapters.bytewax.routing import slot_of
from flows.core.stream.broker import Broker, Outgoing, Producer, Record, TopicPartition, read_range
from flows.errors import BrokerAway

RecordId = tuple[str, bytes]  # topic and id

_topic = itemgetter(0)  # of a record

_SEND = 0.001  # seconds that an idle flow waits for the acknowledgement of what it has just written


class TopicSink(FixedPartitionedSink[list[Outgoing], Offsets]):
    """Writes the records that the slots produced to `topics`.

    A record with an `id` header is written once: not when a record with that id is already behind the stored
    offset. A record without an id may be repeated after a crash.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        topics: Sequence[str],
        slots: int,
        observer: FlowObserver,
        idle: Idle,
    ) -> None:
        self._open_broker = open_broker
        self._topics = topics
        self._slots = slots
        self._observer = observer
        self._idle = idle

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._slots)]

    def part_fn(self, item_key: str) -> int:
        return slot_of(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> SlotSink:
        broker = self._open_broker().uncommitted()
        partitions = [TopicPartition(topic, int(for_part)) for topic in self._topics]
        offsets = {p: start_offset(broker, p, resume_state or {}) for p in partitions}
        ends = broker.ends(self._topics)
        written = {
            record_id
            for partition, offset in offsets.items()
            for record_id in _ids_between(broker, partition, offset, ends[partition])
        }
        output = SlotOutput(broker, broker.producer(), offsets)
        return SlotSink(int(for_part), output, written, self._observer, self._idle.of_worker())


class SlotOutput(NamedTuple):
    """What a slot writes to: a producer, and an offset in each partition that is after what was stored."""

    broker: Broker
    producer: Producer
    offsets: dict[TopicPartition, int]


class SlotSink(StatefulSinkPartition[list[Outgoing], Offsets]):
    """One slot's output. The broker acknowledges all of it before its epoch can close, in `snapshot`.

    `written` are the ids of records that were written after the stored state, each to be skipped once.
    """

    def __init__(
        self, slot: int, output: SlotOutput, written: set[RecordId], observer: FlowObserver, idle: WorkerIdle
    ) -> None:
        self._slot = slot
        self._broker, self._producer, self._offsets = output
        self._written = written
        self._observer = observer
        self._idle = idle
        self._unacknowledged: deque[Sequence[Outgoing]] = deque()
        self._count = 0  # of the records in these batches
        self._is_sent = True  # whether they were sent, or may wait for later ones
        self._topics: set[str] = set()  # of new records, which follow all that was written before the restart

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        records = values[0] if len(values) == 1 else list(chain.from_iterable(values))
        if self._written:
            records = [record for record in records if not self.is_written(record)]
        if not records:
            return
        if self._unacknowledged:
            self._acknowledge(self._producer.outstanding())
        self._producer.write(records, self._slot)
        self._topics.update(map(_topic, records))
        self._unacknowledged.append(records)
        self._count += len(records)
        self._is_sent = False
        self._idle.watch(self, self)

    def is_unfinished(self) -> bool:
        """Return whether records are not acknowledged yet; what was written since the last call is sent."""
        self._acknowledge(self._producer.outstanding(0.0 if self._is_sent else _SEND))
        self._is_sent = True
        return self._count > 0

    def is_written(self, record: Outgoing) -> bool:
        """Return whether the record was written before the restart, and forget its id."""
        record_id = (record.topic, _id_of(record))
        if record_id not in self._written:
            return False
        self._written.remove(record_id)
        return True

    def snapshot(self) -> Offsets:
        """Return the offsets after everything is acknowledged.

        In a topic without new records, records of a later epoch may stand that were written before the
        restart, so the offset stays.
        """
        self._producer.flush()
        self._acknowledge(self._producer.outstanding())
        with suppress(BrokerAway):  # the offsets of an earlier epoch only mean that a resume reads more ids
            ends = self._broker.ends(list(self._topics)) if self._topics else {}
            self._offsets |= {place: end for place, end in ends.items() if place in self._offsets}
        return to_stored(self._offsets)

    def close(self) -> None:
        self._idle.watch(self, None)
        self._producer.close()
        self._broker.close()

    def _acknowledge(self, outstanding: int) -> None:
        """Report the acknowledged batches; the broker acknowledges in order, or nearly."""
        while self._unacknowledged and self._count - len(self._unacknowledged[0]) >= outstanding:
            records = self._unacknowledged.popleft()
            self._count -= len(records)
            self._observer.written(records)
        if not self._unacknowledged:
            self._idle.watch(self, None)


def _ids_between(broker: Broker, partition: TopicPartition, start: int, stop: int) -> Iterator[RecordId]:
    """Yield the ids of the records in a range, also of those behind another's open transaction."""
    for records in read_range(broker, partition, start, stop):
        for record in records:
            if record_id := _id_of(record):
                yield record.topic, record_id


def _id_of(record: Record | Outgoing) -> bytes:
    """Return the value of the `id` header, empty if there is none."""
    for name, value in record.headers:
        if name == "id":
            return value or b""
    return b""

"""Bytewax sink over a broker.

A partition of the sink writes what the same-numbered slot produced. Its state is an offset in each of its
output partitions, and the ids of earlier records that may come again: those were written before a crash, and
after the state that was stored then. On resume it reads further ids from the offsets on. A record with one of
the ids is not written again.

The offset is where the partition ended at the start, and one more for each record written since. So the end
of an epoch asks the broker nothing. Others who write to the partition only make the log longer than that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.adapters.bytewax.idle import Idle, WorkerIdle
from flows.adapters.bytewax.observer import FlowObserver
from flows.adapters.bytewax.offsets import Offsets, start_offset, to_stored
from flows.adapters.bytewax.routing import slot_of
from flows.core.stream.broker import Broker, Outgoing, Producer, Record, TopicPartition, read_range

RecordId = tuple[str, bytes]  # topic and id
SinkState = tuple[Offsets, list[RecordId]]  # the format of the stored state

_topic = itemgetter(0)  # of a record

_MOST_IDS = 100_000  # in a stored state, the newest; a flow repeats the records of an epoch or two
_SEND = 0.001  # seconds that an idle flow waits for the acknowledgement of what it has just written


class TopicSink(FixedPartitionedSink[list[Outgoing], SinkState]):
    """Writes the records that the slots produced to `topics`.

    A record's id is its key in the topics `by_key`, and its `id` header in others. A record with an id is
    written once: not when a record with that id was written already after the stored state. A record without
    an id may be repeated after a crash.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        topics: Sequence[str],
        by_key: Collection[str],
        slots: int,
        observer: FlowObserver,
        idle: Idle,
    ) -> None:
        self._open_broker = open_broker
        self._topics = topics
        self._by_key = by_key
        self._slots = slots
        self._observer = observer
        self._idle = idle

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._slots)]

    def part_fn(self, item_key: str) -> int:
        return slot_of(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: SinkState | None) -> SlotSink:
        stored = resume_state or ({}, [])
        broker = self._open_broker().uncommitted()
        producer = broker.producer()  # before the requests: one that has to write at once waits half a second
        partitions = [TopicPartition(topic, int(for_part)) for topic in self._topics]
        offsets = {p: start_offset(broker, p, stored[0]) for p in partitions}
        ends = broker.ends(self._topics)
        written = dict.fromkeys(stored[1])
        for partition, offset in offsets.items():
            ids = _ids_between(broker, partition, offset, ends[partition], self._by_key)
            written.update(dict.fromkeys(ids))
        output = SlotOutput(broker, producer, self._by_key, {p: ends[p] for p in partitions})
        return SlotSink(int(for_part), output, written, self._observer, self._idle.of_worker())


class SlotOutput(NamedTuple):
    """What a slot writes to.

    `by_key` are the topics whose keys are ids. `ends` has the end of each partition at the start.
    """

    broker: Broker
    producer: Producer
    by_key: Collection[str]
    ends: dict[TopicPartition, int]


class SlotSink(StatefulSinkPartition[list[Outgoing], SinkState]):
    """One slot's output. The broker acknowledges all of it before its epoch can close, in `snapshot`.

    `written` has the ids of records that may come again, in the order of the log; each is skipped once.
    """

    def __init__(
        self,
        slot: int,
        output: SlotOutput,
        written: dict[RecordId, None],
        observer: FlowObserver,
        idle: WorkerIdle,
    ) -> None:
        self._slot = slot
        self._broker, self._producer, self._by_key, self._ends = output
        self._written = written
        self._observer = observer
        self._idle = idle
        self._unacknowledged: deque[Sequence[Outgoing]] = deque()
        self._count = 0  # of the records in these batches
        self._is_sent = True  # whether they were sent, or may wait for later ones
        self._new: Counter[str] = Counter()  # records written since the start, by topic

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        records = values[0] if len(values) == 1 else list(chain.from_iterable(values))
        if self._written:
            records = [record for record in records if not self.is_written(record)]
        if not records:
            return
        if self._unacknowledged:
            self._acknowledge(self._producer.outstanding())
        self._producer.write(records, self._slot)
        self._new.update(map(_topic, records))
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
        record_id = (record.topic, _id_of(record, self._by_key))
        if record_id not in self._written:
            return False
        del self._written[record_id]
        return True

    def snapshot(self) -> SinkState:
        """Return the state after everything is acknowledged."""
        self._producer.flush()
        self._acknowledge(self._producer.outstanding())
        offsets = {partition: end + self._new[partition.topic] for partition, end in self._ends.items()}
        return to_stored(offsets), list(self._written)[-_MOST_IDS:]

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


def _ids_between(
    broker: Broker, partition: TopicPartition, start: int, stop: int, by_key: Collection[str]
) -> Iterator[RecordId]:
    """Yield the ids of the records in a range, also of those behind another's open transaction."""
    for records in read_range(broker, partition, start, stop):
        for record in records:
            if record_id := _id_of(record, by_key):
                yield record.topic, record_id


def _id_of(record: Record | Outgoing, by_key: Collection[str]) -> bytes:
    """Return the id of a record, empty if there is none."""
    if record.topic in by_key:
        return record.key or b""
    for name, value in record.headers:
        if name == "id":
            return value or b""
    return b""

"""Bytewax's source and sink over a broker.

A partition of the source is a slot: the same-numbered partition of every input topic (p mod slots), one
consumer, the offsets as its state. A partition of the sink writes what the same slot produced, and its state
is how far each of its output partitions was written: on resume it reads on from there what already stands in
the log, and does not write that again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.core.stream.broker import Broker, Consumer, Outgoing, Producer, Record, TopicPartition, read_range
from flows.core.stream.decode import Decoder
from flows.core.stream.drain import Drain
from flows.core.stream.merge import EventTimeMerge, clamp_future_timestamps
from flows.errors import AccessDenied, BrokerError, OffsetExpired, UnknownTopic

Offsets = dict[str, int]  # "topic/partition" to the next offset: what recovery stores
SlotBatch = tuple[str, list[Record]]
SlotOutput = tuple[str, list[Outgoing]]

_COMMIT_EVERY = 0.01  # seconds
_LOOK_EVERY = 2.0  # seconds between looks at the topics: how far they go, and how many partitions they have
_SET_BACK = 0.5  # seconds; what is less the steps wait for
_ALWAYS = datetime.fromtimestamp(0, UTC)
_BUFFER_BATCHES = 4  # batches buffered of a partition before it is paused
_BATCH_BYTES = 8 * 2**20  # of records in one batch, however few they are
_BUFFER_BYTES = 8 * 2**20  # buffered of a partition before it is paused
_EXPIRED = (
    "The flow's stored state goes on there. Restore the records, or stop all flows and remove the pipeline's "
    "folder `state/PIPELINE` in the state directory: then they begin again at the oldest records"
)


@dataclass(frozen=True)
class Inputs:
    """What a flow reads, in the order in which records of equal time go.

    Every slot reads its own partitions of `topics` and all partitions of `broadcast` topics. Without a stored
    state it begins at the offset of `start` ("topic/partition"), and where that has none at the beginning.
    Records without a timestamp are merged by their event time, which the `decoders` of their topics give.
    """

    topics: Sequence[str]
    broadcast: Sequence[str] = ()
    start: Mapping[str, int] = field(default_factory=dict)
    decoders: Mapping[str, Decoder] = field(default_factory=dict)


class FlowObserver(Protocol):
    """Who is told what a source and a sink do."""

    def assigned(self) -> None:
        """The source has its partitions."""

    def read(self, records: Sequence[Record]) -> None: ...

    def lag(self, partition: TopicPartition, records: int) -> None: ...

    def held_back(self, partition: TopicPartition, offset: int, records: int) -> None:
        """So many records from `offset` on wait for an open transaction; 0 where none do."""

    def grown(self, topic: str, partitions: int) -> None:
        """A topic has that many partitions now, more than are read; the flow ends, to be started again."""

    def written(self, records: Sequence[Outgoing]) -> None: ...


class MergedSource(FixedPartitionedSource[SlotBatch, Offsets]):
    """Batches of records, merged by event time; each is one item `(slot, records)`.

    `idle` (seconds) is how long an empty poll waits, and `pace` how long the source rests after a batch that
    was not full, for sinks that work better on fewer and larger ones. When `drain` is set the source ends, so
    that the flow stores its state and stops. The source sets it itself when a topic got more partitions: who
    reads which is settled at the start.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        group: str,
        inputs: Inputs,
        slots: int,
        batch: int,
        watch: FlowObserver,
        drain: Drain,
        idle: float = 0.003,
        pace: float = 0.0,
    ) -> None:
        self._open_broker = open_broker
        self._group = group
        self._inputs = inputs
        self._slots = slots
        self._batch = batch
        self._watch = watch
        self._drain = drain
        self._idle = idle
        self._pace = pace

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._slots)]

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> SlotSource:
        broker = self._open_broker()
        counts = broker.topics()
        partitions = self._partitions(counts, int(for_part))
        offsets = {p: _resume_at(broker, p, resume_state or self._inputs.start) for p in partitions}
        topics = _Topics(broker, {topic: counts[topic] for topic, _ in partitions}, self._watch)
        consumer = broker.consumer(self._group, offsets)
        self._watch.assigned()
        timing = (self._idle, self._pace)
        decoders = self._inputs.decoders
        return SlotSource(
            for_part, topics, consumer, offsets, decoders, self._batch, self._watch, self._drain, *timing
        )

    def _partitions(self, counts: Mapping[str, int], slot: int) -> list[TopicPartition]:
        own = [
            TopicPartition(topic, p)
            for topic in self._inputs.topics
            for p in range(slot, counts.get(topic, slot + 1), self._slots)
        ]
        shared = [
            TopicPartition(topic, p) for topic in self._inputs.broadcast for p in range(counts.get(topic, 1))
        ]
        return shared + own


class SlotSource(StatefulSourcePartition[SlotBatch, Offsets]):
    """One slot: reads its partitions with one consumer and emits what the merge lets go."""

    def __init__(
        self,
        slot: str,
        topics: _Topics,
        consumer: Consumer,
        offsets: dict[TopicPartition, int],
        decoders: Mapping[str, Decoder],
        batch: int,
        watch: FlowObserver,
        drain: Drain,
        idle: float,
        pace: float,
    ) -> None:
        self._decoders = decoders
        self._slot = slot
        self._topics = topics
        self._consumer = consumer
        self._watch = watch
        self._offsets = offsets
        self._batch = batch
        self._drain = drain
        self._idle = idle
        self._pace = pace
        self._rest_until = 0.0
        self._clock = _ClockWatch()
        self._merge = EventTimeMerge(list(offsets))
        self._paused: set[TopicPartition] = set()
        self._committed: dict[TopicPartition, int] = {}  # so that what was resumed from is shown
        self._commit_at = 0.0
        self._look_at = 0.0

    def next_batch(self) -> Iterable[SlotBatch]:
        self._commit()
        self._look()
        rest = self._rest_until - time.monotonic()
        if rest > 0:
            time.sleep(min(rest, self._idle))
        if self._drain.is_set():
            raise StopIteration
        records = [] if rest > 0 else self._take(wait=0.0) or self._take(wait=self._idle)
        if not records:
            return [(self._slot, [])] if self._clock.was_set_back() else []
        if len(records) < self._batch:
            self._rest_until = time.monotonic() + self._pace
        for record in records:
            self._offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        self._watch.read(records)
        return [(self._slot, records)]

    def next_awake(self) -> datetime:
        return _ALWAYS  # Bytewax looks at the wall clock, and would sleep for an hour when that is set back

    def snapshot(self) -> Offsets:
        return {f"{p.topic}/{p.partition}": offset for p, offset in self._offsets.items()}

    def buffered_bytes(self) -> int:
        """The size of the records that wait for their turn."""
        return sum(map(self._merge.buffered_bytes, self._offsets))

    def close(self) -> None:
        self._commit_at = 0.0
        self._commit()
        self._consumer.close()

    def _take(self, wait: float) -> list[Record]:
        try:
            records = self._consumer.poll(self._batch, wait)
        except OffsetExpired as error:
            raise OffsetExpired(f"{error}. {_EXPIRED}") from error
        self._merge.add(clamp_future_timestamps(records, time.time_ns() // 1_000_000, self._decoders))
        self._hold_back()
        return self._merge.take(self._batch, _BATCH_BYTES, self._consumer.has_backlog)

    def _hold_back(self) -> None:
        """Pause the partitions that run ahead of the others, so that memory stays bounded.

        A paused one stays so until little is left of it, for Kafka's client throws away what it has fetched.
        """
        full = set()
        for partition in self._offsets:
            share = 1 / _BUFFER_BATCHES if partition in self._paused else 1
            records, size = share * _BUFFER_BATCHES * self._batch, share * _BUFFER_BYTES
            merge = self._merge
            if merge.buffered(partition) > records or merge.buffered_bytes(partition) > size:
                full.add(partition)
        if full != self._paused:
            self._consumer.pause(list(full - self._paused))
            self._consumer.resume(list(self._paused - full))
            self._paused = full

    def _commit(self) -> None:
        """Show the group's offsets to lag tools; what the previous batches brought has gone downstream."""
        now = time.monotonic()
        if now < self._commit_at:
            return
        self._commit_at = now + _COMMIT_EVERY
        self._pass_over()
        if self._committed != self._offsets:
            self._consumer.commit(self._offsets)
            self._committed = dict(self._offsets)

    def _pass_over(self) -> None:
        """Count as read what no poll gives, such as the end of a transaction behind the last record."""
        for partition in self._offsets:
            if not self._merge.buffered(partition):
                self._offsets[partition] = self._consumer.position(partition)

    def _look(self) -> None:
        """Show the lag and what is held back; end the flow where a topic got partitions that nobody reads."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            for partition, offset in self._offsets.items():
                self._watch.held_back(partition, offset, self._consumer.held_back(partition))
            if self._topics.have_grown(self._offsets):
                self._drain.set()


class _ClockWatch:
    """Notices that the wall clock was set back, against the monotonic one.

    The timers of Bytewax's steps stand by the wall clock. A step asks for its timer again when a batch comes,
    so an empty one is sent then, or the step would wait as long as the clock was set back.
    """

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def was_set_back(self) -> bool:
        """Whether it was, since this was last asked."""
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        return self._ahead < before - _SET_BACK


class _Topics:
    """The topics that a slot reads; `counts` has the partitions that each had when the flow began."""

    def __init__(self, broker: Broker, counts: Mapping[str, int], watch: FlowObserver) -> None:
        self._broker = broker
        self._counts = counts
        self._watch = watch

    def have_grown(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Tell the watch how far `offsets` are behind; whether a topic has more partitions than before."""
        try:
            bounds = {topic: self._broker.offsets(topic) for topic in self._counts}
        except (AccessDenied, UnknownTopic):
            raise
        except BrokerError:
            return False  # an outage is no reason to end: the next look tells
        for partition, offset in offsets.items():
            self._watch.lag(partition, bounds[partition.topic][partition.partition][1] - offset)
        grown = [topic for topic, count in self._counts.items() if len(bounds[topic]) > count]
        for topic in grown:
            self._watch.grown(topic, len(bounds[topic]))
        return bool(grown)


class TopicSink(FixedPartitionedSink[list[Outgoing], Offsets]):
    """Writes the records that the slots produced to `topics`, and no record twice.

    A record with an `id` header is not written when one with that id already stands behind the offset that
    was stored; a record without an id may be repeated after a crash.
    """

    def __init__(
        self, open_broker: Callable[[], Broker], topics: Sequence[str], slots: int, watch: FlowObserver
    ) -> None:
        self._watch = watch
        self._open_broker = open_broker
        self._topics = topics
        self._slots = slots

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._slots)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> SlotSink:
        broker = self._open_broker()
        partitions = [TopicPartition(topic, int(for_part)) for topic in self._topics]
        offsets = {p: _resume_at(broker, p, resume_state or {}) for p in partitions}
        written = set(chain.from_iterable(_ids_behind(broker, p, offset) for p, offset in offsets.items()))
        return SlotSink(int(for_part), broker.producer(), offsets, written, self._watch)


class SlotSink(StatefulSinkPartition[list[Outgoing], Offsets]):
    """One slot's output: a batch is acknowledged by the broker before its epoch can close."""

    def __init__(
        self,
        slot: int,
        producer: Producer,
        offsets: dict[TopicPartition, int],
        written: set[tuple[str, bytes]],
        watch: FlowObserver,
    ) -> None:
        self._slot = slot
        self._producer = producer
        self._offsets = offsets
        self._written = written
        self._watch = watch

    def write_batch(self, values: list[list[Outgoing]]) -> None:
        records = [record._replace(partition=self._slot) for batch in values for record in batch]
        if self._written:
            records = [record for record in records if not self._is_written(record)]
        if records:
            self._offsets.update(self._producer.send(records))
            self._watch.written(records)

    def snapshot(self) -> Offsets:
        return {f"{p.topic}/{p.partition}": offset for p, offset in self._offsets.items()}

    def close(self) -> None:
        self._producer.close()

    def _is_written(self, record: Outgoing) -> bool:
        known = (record.topic, _id(record))
        if known not in self._written:
            return False
        self._written.remove(known)
        return True


def _resume_at(broker: Broker, partition: TopicPartition, stored: Mapping[str, int]) -> int:
    offset = stored.get(f"{partition.topic}/{partition.partition}")
    return broker.offsets(partition.topic)[partition.partition][0] if offset is None else offset


def _ids_behind(broker: Broker, partition: TopicPartition, offset: int) -> Iterable[tuple[str, bytes]]:
    everything = broker.uncommitted()  # what was written behind somebody's open transaction is there, too
    end = everything.offsets(partition.topic)[partition.partition][1]
    for records in read_range(everything, partition, offset, end):
        yield from ((record.topic, _id(record)) for record in records if _id(record))


def _id(record: Record | Outgoing) -> bytes:
    return next((value for name, value in record.headers if name == "id"), None) or b""

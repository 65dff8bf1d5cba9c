"""Bytewax source over a broker.

A partition of the source is a slot: one consumer that reads the same-numbered partitions of every input topic
(p mod slots). The offsets are its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.adapters.bytewax.idle import SHORT, Idle, WorkerIdle
from flows.adapters.bytewax.observer import FlowObserver
from flows.adapters.bytewax.offsets import Offsets, start_offset, to_stored
from flows.adapters.bytewax.source_watch import ClockWatch, TopicWatch
from flows.core.stream.broker import Broker, Consumer, Record, TopicPartition
from flows.core.stream.decode import Decoder
from flows.core.stream.drain import Drain
from flows.core.stream.merge import EventTimeMerge, clamp_future_timestamps
from flows.errors import OffsetExpired

SlotBatch = tuple[str, list[Record]]

PACE = 0.003  # seconds: a batch costs about as much as ten records in it
_COMMIT_EVERY = 0.02  # seconds
_CHECK_EVERY = 2.0  # seconds between reports of open transactions
# Seconds after which unchanged offsets are committed again: a commit may fail or arrive after a later one,
# and Kafka forgets the offsets of an idle group after a week.
RECOMMIT_EVERY = 10.0
_ALWAYS_AWAKE = datetime.fromtimestamp(0, UTC)
_BUFFER_BATCHES = 4  # batches buffered per partition before it is paused
_BUFFER_BYTES = 8 * 2**20  # buffered per partition before it is paused
_BATCH_BYTES = 8 * 2**20  # the most that one batch may hold
_EXPIRED = (
    "The flow's stored state resumes there. Restore the records, or stop all flows and remove the pipeline's "
    "folder `state/PIPELINE` in the state directory: the flows then restart at the oldest records"
)


@dataclass(frozen=True)
class SourceSettings:
    """What a source reads, and how.

    Every slot reads its own partitions of `topics` and all partitions of `broadcast` topics. Records of equal
    event time are emitted in the order broadcast, then `topics`. Without a stored state a partition is read
    from its offset in `start` ("topic/partition"), or else from its oldest record. Records without a
    timestamp are merged by their event time, which the `decoders` of their topics return.

    `batch` is the largest number of records in a batch. After a batch with all that there was to read, the
    next one is read `pace` seconds later at the earliest, so that records that come in one by one make fewer
    batches; or `pace_of_record` seconds later for each of its records, if that is sooner.
    """

    group: str
    topics: Sequence[str]
    broadcast: Sequence[str] = ()
    start: Mapping[str, int] = field(default_factory=dict)
    decoders: Mapping[str, Decoder] = field(default_factory=dict)
    slots: int = 1
    batch: int = 1000
    pace: float = PACE
    pace_of_record: float = inf


class MergedSource(FixedPartitionedSource[SlotBatch, Offsets]):
    """Batches of records, merged by event time; each is one item `(slot, records)`.

    The source ends when `drain` is set, so that the flow stores its state and stops. It sets `drain` itself
    when a topic got more partitions, because the assignment of partitions is fixed at the start.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        settings: SourceSettings,
        observer: FlowObserver,
        drain: Drain,
        idle: Idle,
    ) -> None:
        self._open_broker = open_broker
        self._settings = settings
        self._observer = observer
        self._drain = drain
        self._idle = idle

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(self._settings.slots)]

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> SlotSource:
        broker = self._open_broker()
        counts = broker.topics()
        stored = resume_state or self._settings.start
        offsets = {p: start_offset(broker, p, stored) for p in self._partitions(counts, int(for_part))}
        consumer = broker.consumer(self._settings.group, offsets)
        counts = {partition.topic: counts[partition.topic] for partition in offsets}
        watch = TopicWatch(self._open_broker, counts, offsets, self._observer, self._drain)
        self._observer.assigned()
        input_ = SlotInput(broker, consumer, offsets, watch)
        return SlotSource(
            for_part, input_, self._settings, self._observer, self._drain, self._idle.of_worker()
        )

    def _partitions(self, counts: Mapping[str, int], slot: int) -> list[TopicPartition]:
        """Return the partitions of a slot; a missing topic counts as one partition, and fails when read."""
        own = [
            TopicPartition(topic, number)
            for topic in self._settings.topics
            for number in range(slot, counts.get(topic, slot + 1), self._settings.slots)
        ]
        shared = [
            TopicPartition(topic, number)
            for topic in self._settings.broadcast
            for number in range(counts.get(topic, 1))
        ]
        return shared + own


class SlotInput(NamedTuple):
    """What a slot reads: its consumer, the next offset of each partition, and the watch of its topics."""

    broker: Broker
    consumer: Consumer
    offsets: dict[TopicPartition, int]
    watch: TopicWatch


class SlotSource(StatefulSourcePartition[SlotBatch, Offsets]):
    """One slot: reads its partitions with one consumer and emits what the merge releases."""

    def __init__(
        self,
        slot: str,
        input_: SlotInput,
        settings: SourceSettings,
        observer: FlowObserver,
        drain: Drain,
        idle: WorkerIdle,
    ) -> None:
        self._slot = slot
        self._broker, self._consumer, self._offsets, self._watch = input_
        self._settings = settings
        self._batch = settings.batch
        self._observer = observer
        self._drain = drain
        self._idle = idle
        self._clock = ClockWatch()
        self._merge = EventTimeMerge(self._offsets)
        self._paused: set[TopicPartition] = set()
        self._committed: dict[TopicPartition, int] = {}  # empty, so that a resumed offset is committed too
        # by the monotonic clock
        self._rest_until = self._commit_at = self._recommit_at = self._check_at = 0.0
        idle.add_slot(self)

    def next_batch(self) -> Iterable[SlotBatch]:
        now = time.monotonic()
        self._commit(now)
        self._check(now)
        if self._drain.is_set():
            raise StopIteration
        records = self._read()
        if not records and self._sleep():
            records = self._read()
        if not records:
            return [(self._slot, [])] if self._clock.was_set_back() else []
        return [(self._slot, records)]

    def next_awake(self) -> datetime:
        return _ALWAYS_AWAKE  # by the wall clock: any later time would stall the flow when that is set back

    def snapshot(self) -> Offsets:
        self._idle.end_epoch(self)
        return to_stored(self._offsets)

    def buffered_bytes(self) -> int:
        """Return the size of the records that the merge holds."""
        return sum(self._merge.buffered_bytes(partition) for partition in self._offsets)

    def close(self) -> None:
        self._idle.remove_slot(self)
        self._watch.close()
        self._commit_at = 0.0
        self._commit(time.monotonic())
        self._consumer.close()
        self._broker.close()

    def _read(self) -> list[Record]:
        """Return the next batch, and advance the offsets; the batch is empty while the slot rests."""
        began = time.monotonic()
        if began < self._rest_until:
            return []
        try:
            polled = self._consumer.poll(self._batch, 0.0)
        except OffsetExpired as error:
            raise OffsetExpired(f"{error}. {_EXPIRED}") from error
        if polled:
            now = time.time_ns() // 1_000_000
            self._merge.add(clamp_future_timestamps(polled, now, self._settings.decoders))
        records = self._merge.take(self._batch, _BATCH_BYTES, self._consumer.has_backlog)
        if self._paused or not self._merge.is_empty():
            self._apply_backpressure()
        if records:
            self._offsets.update(self._merge.taken)
            self._idle.has_records()
            self._observer.read(records)
            if len(polled) < self._batch and self._merge.is_empty():
                pace = min(self._settings.pace, len(records) * self._settings.pace_of_record)
                self._rest_until = began + pace
        return records

    def _sleep(self) -> bool:
        """Sleep while the worker has nothing to do; return whether it has slept."""
        now, until, consumer = time.monotonic(), inf, None
        if now < self._rest_until:
            until = self._rest_until
        else:
            consumer = self._consumer
        if self._committed != self._offsets:
            until = min(until, self._commit_at)
        if not self._merge.is_empty():
            until = min(until, now + SHORT)  # another poll may show that no record is waited for
        return self._idle.rest(self, self._broker, consumer, until)

    def _apply_backpressure(self) -> None:
        """Pause the partitions that are ahead of the others, so that memory stays bounded.

        A paused partition is resumed when it is nearly empty, not as soon as it fits: Kafka's client discards
        what it had fetched of a paused partition.
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

    def _commit(self, now: float) -> None:
        """Commit the offsets of the group; Bytewax has taken the earlier batches by the time of this call."""
        if now < self._commit_at:
            return
        self._commit_at = now + _COMMIT_EVERY
        self._skip_control_records()
        if self._committed != self._offsets or now >= self._recommit_at:
            self._consumer.commit(self._offsets)
            self._committed = dict(self._offsets)
            self._recommit_at = now + RECOMMIT_EVERY

    def _skip_control_records(self) -> None:
        """Advance the offsets past records that no poll returns, such as the end of a transaction."""
        for partition in self._offsets:
            if not self._merge.buffered(partition):
                self._offsets[partition] = self._consumer.position(partition)

    def _check(self, now: float) -> None:
        """Report open transactions; raise if a topic is gone."""
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_EVERY
        self._watch.raise_failure()
        for partition, offset in self._offsets.items():
            self._observer.held_back(partition, offset, self._consumer.held_back(partition))

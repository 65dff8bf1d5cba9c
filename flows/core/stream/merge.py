"""Merges the partitions of several topics by event time, as Kafka Streams does.

Of the buffered records, the one with the smallest timestamp is next. The merge waits for a partition that has
a backlog but nothing buffered. At the end of the log it does not wait, so a live event is never held up.
Within a partition the order of the log is kept, even where timestamps go back.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import merge
from itertools import accumulate, chain, groupby, islice
from operator import itemgetter
from types import MappingProxyType

from flows.core.stream.broker import Record, TopicPartition
from flows.core.stream.decode import CLOCK_TOLERANCE, Decoder
from flows.errors import InvalidRecord

_Position = tuple[int, int]  # merge time (ms), then the rank of the partition

_place = itemgetter(0, 1)  # of a record: its topic and partition
_timestamp = itemgetter(3)


class _Buffer:
    """The buffered records of one partition.

    `taken` is the newest timestamp of the records that were taken, and `latest` of all that were added. They
    give the records their positions in the merged order.
    """

    __slots__ = ("latest", "partition", "rank", "records", "size", "taken")

    def __init__(self, partition: TopicPartition, rank: int) -> None:
        self.partition = partition
        self.rank = rank
        self.taken = self.latest = -1
        self.records: deque[Record] = deque()
        self.size = 0

    def add(self, records: Sequence[Record]) -> None:
        self.latest = max(self.latest, max(map(_timestamp, records)))
        self.records.extend(records)
        self.size += total_size(records)

    def positions(self, limit: int, horizon: _Position | None) -> list[_Position]:
        """Return the positions of the first records, at most `limit` and none beyond the horizon."""
        times = accumulate(map(_timestamp, islice(self.records, limit)), max, initial=self.taken)
        positions = [(time, self.rank) for time in islice(times, 1, None)]
        return positions if horizon is None else positions[: bisect_right(positions, horizon)]

    def take(self, count: int) -> list[Record]:
        if count == len(self.records):
            records = list(self.records)
            self.records.clear()
            self.size, self.taken = 0, self.latest
            return records
        records = [self.records.popleft() for _ in range(count)]
        self.size -= total_size(records)
        self.taken = max(self.taken, max(map(_timestamp, records)))
        return records


class EventTimeMerge:
    """Buffers the records of `partitions` and returns them in event-time order.

    At equal times, `partitions` gives the order: sources first, then the events that use them. `taken` has
    the next offset of each partition of which the last `take` returned records.
    """

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.taken: dict[TopicPartition, int] = {}
        self._buffers = {partition: _Buffer(partition, rank) for rank, partition in enumerate(partitions)}

    def add(self, records: Iterable[Record]) -> None:
        """Buffer records; those of one partition must be in log order."""
        for (topic, number), run in groupby(records, _place):
            self._buffers[TopicPartition(topic, number)].add(list(run))

    def is_empty(self) -> bool:
        """Return whether no record is buffered."""
        return not any(buffer.records for buffer in self._buffers.values())

    def buffered(self, partition: TopicPartition) -> int:
        """Return the number of buffered records of `partition`."""
        return len(self._buffers[partition].records)

    def buffered_bytes(self, partition: TopicPartition) -> int:
        """Return the size of the buffered records of `partition`."""
        return self._buffers[partition].size

    def take(self, limit: int, size: int, has_backlog: Callable[[TopicPartition], bool]) -> list[Record]:
        """Return, in order, the records that are ready: at most `limit`, and `size` bytes in total.

        A single record is returned however large it is. `has_backlog` says whether the log holds more records
        of a partition than were added.
        """
        busy = [buffer for buffer in self._buffers.values() if buffer.records]
        self.taken = {}
        if not busy:
            return []
        horizon = self._horizon(has_backlog)
        if len(busy) == 1 and _is_ready(busy[0], limit, size, horizon):
            return self._take(busy[0], len(busy[0].records))
        positions = sorted(chain.from_iterable(buffer.positions(limit, horizon) for buffer in busy))
        ranks = list(map(itemgetter(1), positions[:limit]))
        if sum([buffer.size for buffer in busy]) > size:
            by_rank = {buffer.rank: iter(buffer.records) for buffer in busy}
            ranks = ranks[: _fitting([next(by_rank[rank]) for rank in ranks], size)]
        return self._take_in_order(ranks, busy)

    def _take_in_order(self, ranks: Sequence[int], buffers: Iterable[_Buffer]) -> list[Record]:
        """Return the next record of the partition of each rank."""
        taken = {buffer.rank: iter(self._take(buffer, ranks.count(buffer.rank))) for buffer in buffers}
        return [next(taken[rank]) for rank in ranks]

    def _take(self, buffer: _Buffer, count: int) -> list[Record]:
        if not count:
            return []
        records = buffer.take(count)
        self.taken[buffer.partition] = records[-1].offset + 1
        return records

    def _horizon(self, has_backlog: Callable[[TopicPartition], bool]) -> _Position | None:
        """Return the smallest position that a record still in the log may have; None if there is no limit."""
        waited_for = [
            (buffer.latest if buffer.records else -1, buffer.rank)
            for partition, buffer in self._buffers.items()
            if has_backlog(partition)
        ]
        return min(waited_for, default=None)


def _is_ready(buffer: _Buffer, limit: int, size: int, horizon: _Position | None) -> bool:
    """Return whether all records of a buffer can be taken at once."""
    is_small = len(buffer.records) <= limit and buffer.size <= size
    return is_small and (horizon is None or (buffer.latest, buffer.rank) <= horizon)


def _fitting(records: Sequence[Record], size: int) -> int:
    """Return how many of the records fit into `size` bytes; at least one."""
    totals = list(accumulate(map(size_of, records)))
    return max(bisect_right(totals, size), min(1, len(records)))


def size_of(record: Record) -> int:
    """Return the size of a record's key, value and headers; a header's name counts by its characters."""
    return total_size((record,))


def total_size(records: Sequence[Record]) -> int:
    """Return the size of the records' keys, values and headers."""
    fields = (map(itemgetter(4), records), map(itemgetter(5), records))
    headers = chain.from_iterable(map(itemgetter(6), records))
    return sum(map(len, filter(None, chain(*fields, chain.from_iterable(headers)))))


def clamp_future_timestamps(
    records: list[Record], now: int, decoders: Mapping[str, Decoder] = MappingProxyType({})
) -> list[Record]:
    """Replace timestamps in the future by `now` (ms), so they cannot disorder what follows.

    A record without a timestamp gets its event time, from the decoder of its topic. Without a decoder it
    keeps its place after the previous record.
    """
    latest = now + CLOCK_TOLERANCE
    times = list(map(_timestamp, records))
    if not times or (min(times) >= 0 and max(times) <= latest):
        return records
    return [r if 0 <= r.timestamp <= latest else _timed(r, now, decoders) for r in records]


def _timed(record: Record, now: int, decoders: Mapping[str, Decoder]) -> Record:
    if record.timestamp < 0 and record.topic in decoders:
        with suppress(InvalidRecord):  # the intake reports it
            record = record._replace(timestamp=decoders[record.topic].decode(record).time)
    return record if record.timestamp <= now + CLOCK_TOLERANCE else record._replace(timestamp=now)


def merged(logs: Iterable[Iterable[Record]]) -> Iterator[Record]:
    """Merge whole partitions in the order of `EventTimeMerge`, with one record of each in memory.

    `logs` holds the records of each partition; at equal times earlier logs come first.
    """
    positioned = [_positioned(rank, log) for rank, log in enumerate(logs)]
    return (record for _, record in merge(*positioned, key=itemgetter(0)))


def _positioned(rank: int, log: Iterable[Record]) -> Iterator[tuple[_Position, Record]]:
    latest = -1
    for record in log:
        latest = max(latest, record.timestamp)
        yield (latest, rank), record

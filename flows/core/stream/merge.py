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
from itertools import accumulate
from operator import itemgetter
from types import MappingProxyType

from flows.core.stream.broker import Record, TopicPartition
from flows.core.stream.decode import CLOCK_TOLERANCE, Decoder
from flows.errors import InvalidRecord

_Position = tuple[int, int]  # merge time (ms), then the rank of the partition
_Entry = tuple[_Position, Record, int]  # the last is the record's size in bytes


class _Buffer:
    """The buffered records of one partition, each with its position in the merged order."""

    __slots__ = ("entries", "latest", "rank", "size")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.latest = -1
        self.entries: deque[_Entry] = deque()
        self.size = 0

    def add(self, record: Record) -> None:
        self.latest = max(self.latest, record.timestamp)
        size = size_of(record)
        self.size += size
        self.entries.append(((self.latest, self.rank), record, size))

    def take(self) -> _Entry:
        entry = self.entries.popleft()
        self.size -= entry[2]
        return entry

    def put_back(self, entry: _Entry) -> None:
        self.entries.appendleft(entry)
        self.size += entry[2]


class EventTimeMerge:
    """Buffers the records of `partitions` and returns them in event-time order.

    At equal times, `partitions` gives the order: sources first, then the events that use them.
    """

    def __init__(self, partitions: Sequence[TopicPartition]) -> None:
        self._buffers = {partition: _Buffer(rank) for rank, partition in enumerate(partitions)}

    def add(self, records: Iterable[Record]) -> None:
        """Buffer records; those of one partition must be in log order."""
        buffers = self._buffers
        for record in records:
            buffers[TopicPartition(record.topic, record.partition)].add(record)

    def buffered(self, partition: TopicPartition) -> int:
        """Return the number of buffered records of `partition`."""
        return len(self._buffers[partition].entries)

    def buffered_bytes(self, partition: TopicPartition) -> int:
        """Return the size of the buffered records of `partition`."""
        return self._buffers[partition].size

    def take(self, limit: int, size: int, has_backlog: Callable[[TopicPartition], bool]) -> list[Record]:
        """Return, in order, the records that are ready: at most `limit`, and `size` bytes in total.

        A single record is returned however large it is. `has_backlog` says whether the log holds more records
        of a partition than were added.
        """
        horizon = self._horizon(has_backlog)
        ready: list[_Entry] = []
        for buffer in self._buffers.values():
            ready += _up_to(buffer, horizon, limit, size)
        ready.sort(key=itemgetter(0))
        count = _fitting(ready, limit, size)
        self._put_back(ready[count:])
        return [record for _, record, _ in ready[:count]]

    def _horizon(self, has_backlog: Callable[[TopicPartition], bool]) -> _Position | None:
        """Return the smallest position that a record still in the log may have; None if there is no limit."""
        waited_for = [
            (buffer.latest if buffer.entries else -1, buffer.rank)
            for partition, buffer in self._buffers.items()
            if has_backlog(partition)
        ]
        return min(waited_for, default=None)

    def _put_back(self, rest: Sequence[_Entry]) -> None:
        for entry in reversed(rest):
            record = entry[1]
            self._buffers[TopicPartition(record.topic, record.partition)].put_back(entry)


def _up_to(buffer: _Buffer, horizon: _Position | None, limit: int, size: int) -> list[_Entry]:
    taken: list[_Entry] = []
    entries, least = buffer.entries, buffer.size - size
    while (
        entries
        and len(taken) < limit
        and buffer.size >= least
        and (horizon is None or entries[0][0] <= horizon)
    ):
        taken.append(buffer.take())
    return taken


def _fitting(ready: Sequence[_Entry], limit: int, size: int) -> int:
    """Return how many entries fit into `limit` records and `size` bytes; at least one."""
    totals = list(accumulate(map(itemgetter(2), ready[:limit])))
    return max(bisect_right(totals, size), min(1, len(ready)))


def size_of(record: Record) -> int:
    """Return the size in bytes of a record's key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size


def clamp_future_timestamps(
    records: list[Record], now: int, decoders: Mapping[str, Decoder] = MappingProxyType({})
) -> list[Record]:
    """Replace timestamps in the future by `now` (ms), so they cannot disorder what follows.

    A record without a timestamp gets its event time, from the decoder of its topic. Without a decoder it
    keeps its place after the previous record.
    """
    latest = now + CLOCK_TOLERANCE
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
